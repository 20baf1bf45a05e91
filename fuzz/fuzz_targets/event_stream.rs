//! Frames of an event stream: lengths fit, and the payload is found where they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tm_lambda::event_stream::{InvokeComplete, invoke_complete, payload_chunk};

fuzz_target!(|input: (&[u8], Option<String>, Option<String>)| {
    let (payload, code, details) = input;
    let frame = payload_chunk(payload);
    assert_eq!(body(&frame), payload);
    let end = InvokeComplete { error_code: code.clone(), error_details: details, log_result: None };
    let said: serde_json::Value = serde_json::from_slice(body(&invoke_complete(&end))).expect("the end is JSON");
    assert_eq!(said.get("ErrorCode").and_then(serde_json::Value::as_str), code.as_deref());
});

fn body(frame: &[u8]) -> &[u8] {
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!(word(0), frame.len());
    &frame[12 + word(4)..frame.len() - 4]
}
