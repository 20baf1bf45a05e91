//! Results on their way to HTTP: what all formats read in the same way.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::base64_text;

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A result that is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResult {
    /// Not JSON at all.
    #[error("the result is not JSON")]
    NotJson,
    /// JSON of another kind than an object.
    #[error("the result is not a JSON object")]
    NotAnObject,
    /// A status that is none.
    #[error("statusCode is not a status from 200 to 599")]
    Status,
    /// A member that this format does not know.
    #[error("the member `{0}` is not part of this format")]
    ForeignKey(String),
    /// A member of the wrong kind.
    #[error("the member `{0}` is of the wrong kind")]
    WrongKind(&'static str),
    /// More than the front passes on.
    #[error("the result is too large")]
    TooLarge,
}

// === impl HttpAnswer ===

impl HttpAnswer {
    /// 200 with JSON.
    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        let mut answer = Self { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() };
        answer.default_type();
        answer
    }

    /// `application/json` where the function says nothing.
    pub(super) fn default_type(&mut self) {
        let json = HeaderValue::from_static(crate::headers::JSON);
        self.headers.entry(CONTENT_TYPE).or_insert(json);
    }
}

/// A number or a text of digits (HT-14).
pub(super) fn status(value: &Value) -> Result<StatusCode, BadResult> {
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    // 1xx would not end the exchange.
    let status =
        number.filter(|number| (200..600).contains(number)).and_then(|n| StatusCode::from_u16(n).ok());
    status.ok_or(BadResult::Status)
}

/// A member that is an object, or is not there.
pub(super) fn object<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a Map<String, Value>>, BadResult> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(BadResult::WrongKind(name)),
    }
}

/// Adds a header. What no header can hold is left out.
pub(super) fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.append(name, value);
    }
}

/// `cookies`: one `Set-Cookie` each, besides those in `headers` (HT-20).
pub(super) fn cookies(headers: &mut HeaderMap, cookies: Option<&Value>) -> Result<(), BadResult> {
    match cookies {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(cookies)) => {
            for cookie in cookies.iter().filter_map(Value::as_str) {
                append(headers, SET_COOKIE.as_str(), cookie);
            }
            Ok(())
        }
        Some(_) => Err(BadResult::WrongKind("cookies")),
    }
}

/// The text of a scalar; `None` for the rest.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The body, decoded where the function says that it is base64.
pub(super) fn body(text: &str, fields: &Map<String, Value>) -> Result<Bytes, BadResult> {
    match fields.get("isBase64Encoded") {
        Some(Value::Bool(true)) => Ok(base64_text::decode(text).into()),
        None | Some(Value::Null | Value::Bool(false)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(_) => Err(BadResult::WrongKind("isBase64Encoded")),
    }
}

/// JSON without the white space between its tokens.
pub(crate) fn compact(json: &[u8]) -> Vec<u8> {
    let (mut compact, mut in_string, mut escaped) = (Vec::with_capacity(json.len()), false, false);
    for &byte in json {
        if !in_string && byte.is_ascii_whitespace() {
            continue;
        }
        compact.push(byte);
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
    }
    compact
}
