//! Names, labels and annotations: what Kubernetes accepts, and its words when it does not.

use serde_json::Value;

use super::{
    catalog::{NameRule, Resource},
    error::FieldError,
    object,
};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
     end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
/// All annotations of an object together.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// Why `text` is not a DNS-1123 subdomain.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    check(text, 253, text.split('.').all(is_label), SUBDOMAIN)
}

/// Why `text` is not a DNS-1123 label.
pub(crate) fn label(text: &str) -> Vec<String> {
    check(text, 63, is_label(text), LABEL)
}

/// Why `text` is not a DNS-1035 label.
pub(crate) fn label_1035(text: &str) -> Vec<String> {
    let good = is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    check(text, 63, good, LABEL_1035)
}

/// Why `text` cannot be a label's value.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    check(text, 63, text.is_empty() || is_name_part(text), LABEL_VALUE)
}

/// Why `text` cannot be the key of a label or an annotation.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut errors = Vec::new();
    match prefix {
        Some("") => errors.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => errors.extend(subdomain(prefix).into_iter().map(|e| format!("prefix part {e}"))),
        None => {}
    }
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(name) {
        errors.push(QUALIFIED_NAME.to_owned());
    }
    errors
}

/// What is wrong with an object's metadata.
pub(crate) fn check_metadata(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let name = object::name(value);
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        let rule = match resource.names {
            NameRule::Subdomain => subdomain,
            NameRule::Label => label,
            NameRule::Label1035 => label_1035,
        };
        errors.extend(rule(name).into_iter().map(|why| FieldError::invalid("metadata.name", name, why)));
    }
    check_labels(value, &mut errors);
    check_annotations(value, &mut errors);
    errors
}

fn check_labels(value: &Value, errors: &mut Vec<FieldError>) {
    let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let wrong = qualified_name(key).into_iter().map(|why| (key.as_str(), why));
        let wrong = wrong.chain(label_value(value).into_iter().map(|why| (value, why)));
        errors.extend(wrong.map(|(what, why)| FieldError::invalid("metadata.labels", what, why)));
    }
}

fn check_annotations(value: &Value, errors: &mut Vec<FieldError>) {
    let annotations = value.pointer("/metadata/annotations").and_then(Value::as_object);
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        let wrong = qualified_name(&key.to_lowercase());
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid("metadata.annotations", key, why)));
    }
    if bytes > MAX_ANNOTATION_BYTES {
        let message = format!("Too long: may not be more than {MAX_ANNOTATION_BYTES} bytes");
        errors.push(FieldError::raw("FieldValueTooLong", "metadata.annotations", message));
    }
}

fn check(text: &str, max: usize, good: bool, why: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > max {
        errors.push(format!("must be no more than {max} bytes"));
    }
    if !good {
        errors.push(why.to_owned());
    }
    errors
}

fn is_label(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(ends) && text.ends_with(ends) && text.chars().all(|c| ends(c) || c == '-')
}

fn is_name_part(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(ends)
        && text.ends_with(ends)
        && text.chars().all(|c| ends(c) || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_and_bad_names() {
        for good in ["a", "a-b", "a.b-c", "0"] {
            assert!(subdomain(good).is_empty(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "ä"] {
            assert_eq!(subdomain(bad), [SUBDOMAIN], "{bad}");
        }
        assert!(label_1035("0a").len() == 1 && label("0a").is_empty());
        assert_eq!(label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    }

    #[test]
    fn keys_of_labels() {
        for good in ["a", "example.com/A_b.c", "x-y"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "Ex.com/a", "-a"] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
    }
}
