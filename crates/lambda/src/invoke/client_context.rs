//! `X-Amz-Client-Context`: base64 of JSON, on its way into a header of the Runtime API (IN-05, RT-20).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;

use super::error::InvokeError;
use crate::limits::MAX_CLIENT_CONTEXT_BYTES;

/// The JSON of a client context, fit for a header: what is visible ASCII already stays as it is.
///
/// # Errors
///
/// More than 3583 bytes, no base64, no JSON object.
pub fn client_context(header: &str) -> Result<String, InvokeError> {
    if header.len() > MAX_CLIENT_CONTEXT_BYTES {
        return Err(InvokeError::ClientContext);
    }
    let bytes = STANDARD.decode(header.trim()).map_err(|_| InvokeError::ClientContext)?;
    let text = String::from_utf8(bytes).map_err(|_| InvokeError::ClientContext)?;
    serde_json::from_str::<BTreeMap<String, IgnoredAny>>(&text).map_err(|_| InvokeError::ClientContext)?;
    Ok(header_safe(&text))
}

/// JSON on one line in visible ASCII (RT-05). Line breaks stand between tokens only, other letters in strings only.
pub(crate) fn header_safe(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            ' '..='~' => safe.push(letter),
            '\t' | '\n' | '\r' => safe.push(' '),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(safe, "\\u{unit:04x}").expect("a string takes everything");
                }
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn decoded(json: &str) -> Result<String, InvokeError> {
        client_context(&STANDARD.encode(json))
    }

    #[test]
    fn json_passes_unchanged_and_becomes_ascii() {
        let plain = r#"{"custom":{ "egg":1,"x":"a b"},"client":{}}"#;
        assert_eq!(decoded(plain).unwrap(), plain);
        assert_eq!(decoded("{\n\t\"a\":\"é☃😀\"\r\n}").unwrap(), r#"{  "a":"\u00e9\u2603\ud83d\ude00"  }"#);
    }

    #[test]
    fn lm_06_what_is_no_object_in_base64_is_refused() {
        for bad in ["[]", "7", "{", "", "{}x"] {
            assert!(decoded(bad).is_err(), "{bad}");
        }
        assert!(client_context("!!!").is_err());
        assert!(client_context(&STANDARD.encode(b"{\"a\":\"\xff\"}")).is_err());
        let json = |length: usize| STANDARD.encode(format!("{{\"a\":\"{}\"}}", "x".repeat(length)));
        assert!(client_context(&json(2600)).is_ok());
        assert!(client_context(&json(2700)).is_err());
    }

    proptest! {
        #[test]
        fn rt_20_the_value_stays_the_same(text in "\\PC*", key in "\\PC*") {
            let value = serde_json::json!({ key: text });
            let safe = header_safe(&serde_json::to_string_pretty(&value).unwrap());
            prop_assert!(safe.bytes().all(|b| (0x20..0x7f).contains(&b)), "{safe}");
            prop_assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), value);
        }
    }
}
