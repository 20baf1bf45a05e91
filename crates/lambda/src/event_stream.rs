//! Frames of `application/vnd.amazon.eventstream` (IN-30): what `InvokeWithResponseStream` answers. All numbers are big
//! endian.
//!
//! ```text
//! u32 length of the frame | u32 length of the headers | u32 CRC32 of these 8 bytes
//! headers: { u8 length | name | u8 7 (string) | u16 length | value }...
//! payload | u32 CRC32 of everything before it
//! ```

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::headers::{JSON, OCTET_STREAM};

/// The largest payload of one `PayloadChunk`: clients refuse frames that are much larger.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// How a stream of results ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InvokeComplete {
    /// What went wrong; absent for a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The error as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<String>,
    /// The log's end in base64, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_result: Option<String>,
}

/// A string header's type.
const STRING: u8 = 7;

/// Both lengths and their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// A piece of the result, of at most [`MAX_PAYLOAD`] bytes and at least one.
pub fn payload_chunk(payload: &[u8]) -> Bytes {
    frame("PayloadChunk", OCTET_STREAM, payload)
}

/// The last frame of a stream.
pub fn invoke_complete(end: &InvokeComplete) -> Bytes {
    frame("InvokeComplete", JSON, &serde_json::to_vec(end).expect("a few strings serialise"))
}

/// One event.
fn frame(event_type: &str, content_type: &str, payload: &[u8]) -> Bytes {
    // In AWS's own order.
    let headers = [(":event-type", event_type), (":content-type", content_type), (":message-type", "event")];
    let headers_length: usize = headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let length = PRELUDE + headers_length + payload.len() + CHECKSUM;
    let mut frame = BytesMut::with_capacity(length);
    frame.put_u32(narrow(length));
    frame.put_u32(narrow(headers_length));
    frame.put_u32(crc32fast::hash(&frame));
    for (name, value) in headers {
        frame.put_u8(u8::try_from(name.len()).expect("our names are short"));
        frame.put_slice(name.as_bytes());
        frame.put_u8(STRING);
        frame.put_u16(u16::try_from(value.len()).expect("our values are short"));
        frame.put_slice(value.as_bytes());
    }
    frame.put_slice(payload);
    frame.put_u32(crc32fast::hash(&frame));
    frame.freeze()
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("a frame is at most a little larger than its payload")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What botocore decodes, byte for byte.
    #[test]
    fn in_30_frames_are_byte_exact() {
        assert_eq!(
            hex(&payload_chunk(b"hello")),
            "0000006f0000005af5fe871f0b3a6576656e742d7479706507000c5061796c6f61644368756e6b0d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d0d3a6d6573736167652d747970650700056576656e7468656c6c6f29e71260"
        );
        assert_eq!(
            hex(&invoke_complete(&InvokeComplete::default())),
            "00000066000000541f56c8690b3a6576656e742d7479706507000e496e766f6b65436f6d706c6574650d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b7d7006d467"
        );
        let failed = InvokeComplete {
            error_code: Some("Function.Err".to_owned()),
            error_details: Some("{}".to_owned()),
            log_result: None,
        };
        assert_eq!(
            hex(&invoke_complete(&failed)),
            "00000094000000542da2cb540b3a6576656e742d7479706507000e496e766f6b65436f6d706c6574650d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b224572726f72436f6465223a2246756e6374696f6e2e457272222c224572726f7244657461696c73223a227b7d227d034ab5a5"
        );
    }

    proptest! {
        #[test]
        fn in_30_lengths_and_checksums_fit(payload in proptest::collection::vec(any::<u8>(), 1..5000)) {
            let frame = payload_chunk(&payload);
            let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
            prop_assert_eq!(word(0) as usize, frame.len());
            prop_assert_eq!(word(8), crc32fast::hash(&frame[..8]));
            prop_assert_eq!(word(frame.len() - 4), crc32fast::hash(&frame[..frame.len() - 4]));
            let begin = 12 + word(4) as usize;
            prop_assert_eq!(&frame[begin..frame.len() - 4], &payload[..]);
        }
    }
}
