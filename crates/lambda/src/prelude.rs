//! The prelude of a stream for HTTP callers (2.3): one JSON object, eight NUL bytes, then the body.
//!
//! The pieces of a stream may cut it anywhere. [`Scanner`] takes them one by one and gives the prelude and the first of the
//! body.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::limits::MAX_PRELUDE_BYTES;

/// What a prelude says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// The status; 200 where none is said.
    pub status: StatusCode,
    /// The headers, cookies among them. `Content-Length` is left out, as nobody knows it yet (ST-12).
    pub headers: HeaderMap,
}

/// Why a stream has no prelude.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrelude {
    /// No end within the limit.
    #[error("no eight NUL bytes within the first {MAX_PRELUDE_BYTES} bytes of the stream")]
    NoEnd,
    /// The stream ended before the body began.
    #[error("the stream ended inside its prelude")]
    Unfinished,
    /// A NUL byte that does not begin a run of eight.
    #[error("fewer than eight NUL bytes behind the prelude")]
    ShortDelimiter,
    /// No JSON object, or one whose members are of the wrong kind.
    #[error("the prelude is not a JSON object with a status, headers and cookies")]
    NotJson,
}

/// Gathers pieces until the prelude is there.
#[derive(Debug, Default)]
pub struct Scanner {
    bytes: BytesMut,
}

const DELIMITER: usize = 8;

// === impl Scanner ===

impl Scanner {
    /// Takes a piece. `None` means that more is needed; else the prelude, and what of the body came with it.
    ///
    /// # Errors
    ///
    /// When there will be no prelude, whatever follows.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<(Prelude, Bytes)>, InvalidPrelude> {
        // JSON holds no raw NUL, so the first one ends it; earlier pieces hold none but a delimiter that was cut.
        let from = self.bytes.len().saturating_sub(DELIMITER);
        self.bytes.extend_from_slice(piece);
        let Some(end) = self.bytes[from..].iter().position(|byte| *byte == 0).map(|at| from + at) else {
            return if self.bytes.len() > MAX_PRELUDE_BYTES { Err(InvalidPrelude::NoEnd) } else { Ok(None) };
        };
        if end > MAX_PRELUDE_BYTES {
            return Err(InvalidPrelude::NoEnd);
        }
        let delimiter = &self.bytes[end..self.bytes.len().min(end + DELIMITER)];
        if delimiter.iter().any(|byte| *byte != 0) {
            return Err(InvalidPrelude::ShortDelimiter);
        }
        if delimiter.len() < DELIMITER {
            return Ok(None);
        }
        let body = self.bytes.split_off(end + DELIMITER).freeze();
        Prelude::parse(&self.bytes[..end]).map(|prelude| Some((prelude, body)))
    }
}

// === impl Prelude ===

impl Prelude {
    fn parse(json: &[u8]) -> Result<Self, InvalidPrelude> {
        let fields: Map<String, Value> = serde_json::from_slice(json).map_err(|_| InvalidPrelude::NotJson)?;
        let status = match fields.get("statusCode") {
            None | Some(Value::Null) => StatusCode::OK,
            Some(value) => status(value).ok_or(InvalidPrelude::NotJson)?,
        };
        let mut headers = HeaderMap::new();
        for name in ["headers", "multiValueHeaders"] {
            each(fields.get(name), |name, value| add(&mut headers, name, value))?;
        }
        match fields.get("cookies") {
            None | Some(Value::Null) => {}
            Some(Value::Array(cookies)) => {
                cookies.iter().try_for_each(|cookie| add(&mut headers, "set-cookie", cookie))?
            }
            Some(_) => return Err(InvalidPrelude::NotJson),
        }
        headers.remove(http::header::CONTENT_LENGTH);
        Ok(Self { status, headers })
    }
}

fn status(value: &Value) -> Option<StatusCode> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok())?;
    // 1xx would not end the exchange.
    StatusCode::from_u16(number).ok().filter(|status| (200..600).contains(&status.as_u16()))
}

fn each(
    map: Option<&Value>,
    mut add: impl FnMut(&str, &Value) -> Result<(), InvalidPrelude>,
) -> Result<(), InvalidPrelude> {
    match map {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(map)) => map.iter().try_for_each(|(name, value)| add(name, value)),
        Some(_) => Err(InvalidPrelude::NotJson),
    }
}

/// A value, or an array of them (Rust's client writes one for a repeated header). What no header can hold is left out.
fn add(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), InvalidPrelude> {
    let text = match value {
        Value::Array(values) => {
            return values
                .iter()
                .filter(|value| !value.is_array())
                .try_for_each(|value| add(headers, name, value));
        }
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null => return Ok(()),
        Value::Object(_) => return Err(InvalidPrelude::NotJson),
    };
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(text)) {
        headers.append(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &[u8] =
        b"{\"statusCode\":203,\"headers\":{\"X-Zoo\":\"emu\",\"Content-Length\":\"9\"},\"cookies\":[\"hen=1\",\"egg=2\"]}\0\0\0\0\0\0\0\0first\0second";

    /// Feeds a stream in pieces of this size; the prelude, and the body as far as it was needed.
    fn feed(stream: &[u8], size: usize) -> Result<(Prelude, Vec<u8>), InvalidPrelude> {
        let mut scanner = Scanner::default();
        let mut pieces = stream.chunks(size);
        while let Some(piece) = pieces.next() {
            if let Some((prelude, body)) = scanner.push(piece)? {
                let body = [&body[..], &pieces.collect::<Vec<_>>().concat()].concat();
                return Ok((prelude, body));
            }
        }
        Err(InvalidPrelude::Unfinished)
    }

    #[test]
    fn st_09_st_12_any_cut_gives_the_same() {
        for size in 1..=STREAM.len() {
            let (prelude, body) = feed(STREAM, size).unwrap();
            assert_eq!(prelude.status, 203);
            assert_eq!(prelude.headers["x-zoo"], "emu");
            assert!(!prelude.headers.contains_key("content-length"));
            assert_eq!(prelude.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["hen=1", "egg=2"]);
            assert_eq!(body, b"first\0second", "in pieces of {size}");
        }
    }

    #[test]
    fn forms_of_different_clients() {
        let parse = |json: &str| feed(&[json.as_bytes(), &[0; 8]].concat(), 1000).map(|(prelude, _)| prelude);
        let several = parse(r#"{"statusCode":200,"headers":{"a":["1","2"]}}"#).unwrap();
        assert_eq!(several.headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        let multi = parse(r#"{"multiValueHeaders":{"b":["1"]},"headers":null}"#).unwrap();
        assert_eq!((multi.status, &multi.headers["b"]), (StatusCode::OK, &HeaderValue::from_static("1")));
        for bad in [
            "[]",
            "",
            "{\"statusCode\":\"x\"}",
            "{\"statusCode\":99}",
            "{\"headers\":[]}",
            "{\"statusCode\":101}",
        ] {
            assert_eq!(parse(bad), Err(InvalidPrelude::NotJson), "{bad}");
        }
    }

    #[test]
    fn st_10_without_an_end() {
        assert_eq!(feed(b"{}\0\0\0x", 1), Err(InvalidPrelude::ShortDelimiter));
        assert_eq!(feed(&vec![b' '; MAX_PRELUDE_BYTES + 1], 4096), Err(InvalidPrelude::NoEnd));
        assert_eq!(feed(b"{}\0\0\0\0\0\0\0", 3), Err(InvalidPrelude::Unfinished));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_scanner_panic(stream in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..40) {
            let _ = feed(&stream, size);
        }
    }
}
