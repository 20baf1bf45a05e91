//! Bodies inside JSON: as text where they are text, else as base64; and back.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// A body as a member of an event, and whether it is base64.
pub(super) fn encode(body: &[u8], text: bool) -> (String, bool) {
    match std::str::from_utf8(body) {
        Ok(body) if text => (body.to_owned(), false),
        _ => (STANDARD.encode(body), true),
    }
}

/// Whether bodies of this type are text (HT-11). AWS is widely seen to send forms as base64, which is the one thing that
/// `strict` changes.
pub(super) fn is_text(content_type: &str, strict: bool) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "" | "application/json" | "application/javascript" | "application/xml" => true,
        "application/x-www-form-urlencoded" => !strict,
        other => other.starts_with("text/") || other.ends_with("+json") || other.ends_with("+xml"),
    }
}

/// Whether a type matches one of these patterns (`image/png`, `image/*`, `*/*`).
pub(super) fn matches(content_type: &str, patterns: &[String]) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = essence.split('/').next().unwrap_or_default();
    patterns.iter().any(|pattern| {
        let pattern = pattern.to_ascii_lowercase();
        pattern == "*/*"
            || pattern == essence
            || pattern.strip_suffix("/*").is_some_and(|wanted| wanted == kind)
    })
}

/// Decodes as leniently as AWS does (HT-21): other characters are skipped, both alphabets and missing padding accepted.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let letter = |byte: u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'+' | b'/' => Some(byte),
        _ => byte.is_ascii_alphanumeric().then_some(byte),
    };
    let mut letters: Vec<u8> = text.bytes().filter_map(letter).collect();
    // One letter alone carries no byte.
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&ALPHABET, config).decode(letters).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ht_21_lenient_decoding() {
        for text in ["aGk_Pw==", "aGk/Pw", " aG\nk/ P!w==", "aGk/Pw===", "aGk/PwA"] {
            assert!(decode(text).starts_with(b"hi??"), "{text}: {:?}", decode(text));
        }
        assert_eq!(decode("!"), b"");
        assert_eq!(decode("a"), b"");
    }

    #[test]
    fn text_types() {
        for text in [
            "",
            "text/html; charset=utf-8",
            "application/json",
            "Application/XML",
            "application/ld+json",
            "image/svg+xml",
        ] {
            assert!(is_text(text, true), "{text}");
        }
        for binary in
            ["image/png", "multipart/form-data; boundary=x", "application/octet-stream", "application/xmlish"]
        {
            assert!(!is_text(binary, false), "{binary}");
        }
        let form = "application/x-www-form-urlencoded";
        assert!(is_text(form, false) && !is_text(form, true));
        assert!(
            matches("image/png", &["image/*".to_owned()]) && !matches("text/png", &["image/*".to_owned()])
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(body in proptest::collection::vec(any::<u8>(), 0..200), text: bool) {
            let (encoded, is_base64) = encode(&body, text);
            let back = if is_base64 { decode(&encoded) } else { encoded.into_bytes() };
            prop_assert_eq!(back, body);
        }

        #[test]
        fn any_text_decodes(text in "\\PC*") {
            let _ = decode(&text);
        }
    }
}
