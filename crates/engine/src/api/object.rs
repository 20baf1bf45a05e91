//! Small helpers over objects as JSON trees, used by every verb.

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Letters of generated names: no vowels and no digits that look like them, so that no words come out.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest prefix kept of `generateName`, so that the result stays a DNS label.
const MAX_GENERATE_PREFIX: usize = 58;

/// The string at a JSON pointer.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// `metadata.name`, or nothing.
pub(crate) fn name(value: &Value) -> &str {
    text(value, "/metadata/name").unwrap_or_default()
}

/// `metadata.namespace`, or nothing.
pub(crate) fn namespace(value: &Value) -> &str {
    text(value, "/metadata/namespace").unwrap_or_default()
}

/// The object's metadata, made when it is missing. Anything that is not an object is replaced by one.
pub(crate) fn metadata_mut(value: &mut Value) -> &mut Map<String, Value> {
    child_mut(value, "metadata")
}

/// The map under `key`, made when it is missing or something else.
pub(crate) fn child_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let slot = &mut value[key];
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("it was just made an object")
}

/// Copies a field of `from` into `to`, or removes it there.
pub(crate) fn carry(from: Option<&Map<String, Value>>, to: &mut Map<String, Value>, field: &str) {
    match from.and_then(|map| map.get(field)) {
        Some(value) => {
            to.insert(field.to_owned(), value.clone());
        }
        None => {
            to.shift_remove(field);
        }
    }
}

/// The strings of a list.
pub(crate) fn strings<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Now, as Kubernetes writes times.
pub(crate) fn now() -> String {
    time(jiff::Timestamp::now())
}

/// A time, as Kubernetes writes it: UTC, whole seconds.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A new UID.
pub(crate) fn new_uid() -> String {
    Uuid::new_v4().to_string()
}

/// A name made from `generateName`.
pub(crate) fn generate_name(prefix: &str) -> String {
    let kept: String = prefix.chars().take(MAX_GENERATE_PREFIX).collect();
    let suffix = Uuid::new_v4().into_bytes().map(|byte| NAME_LETTERS[usize::from(byte) % NAME_LETTERS.len()]);
    format!("{kept}{}", suffix[..5].iter().map(|b| char::from(*b)).collect::<String>())
}

/// Whether the two differ in anything but `metadata` and `status`: what a generation counts.
pub(crate) fn spec_differs(a: &Value, b: &Value) -> bool {
    let rest = |value: &Value| {
        let mut map = value.as_object().cloned().unwrap_or_default();
        map.shift_remove("metadata");
        map.shift_remove("status");
        map
    };
    rest(a) != rest(b)
}
