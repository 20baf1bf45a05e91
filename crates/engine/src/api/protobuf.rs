//! Bodies in Kubernetes' protobuf form, which `kubectl create configmap` and its like send. Only for reading, and only
//! for the few kinds that such commands make; answers are JSON always.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

mod messages;
mod wire;

use messages::{Kind, MESSAGES, Message};
use wire::{Reader, WireError};

/// Media type of these bodies.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What they begin with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages inside messages; ours are flat.
const MAX_DEPTH: usize = 16;

/// Why a body was not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the body does not begin with the magic bytes of the format")]
    Magic,
    #[error("{0} is not served in protobuf, send JSON")]
    Unknown(String),
    #[error("messages are nested too deeply")]
    Depth,
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Decodes an object.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Magic)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader::new(envelope);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => {
                let mut types = Reader::new(field.bytes()?);
                while let Some((number, field)) = types.next()? {
                    match number {
                        1 => version = field.text()?,
                        2 => kind = field.text()?,
                        _ => {}
                    }
                }
            }
            2 => raw = field.bytes()?,
            _ => {}
        }
    }
    let message = find(&kind).ok_or_else(|| DecodeError::Unknown(kind.clone()))?;
    let mut object = object(message, raw, 0)?;
    object.insert("apiVersion".into(), version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn find(name: &str) -> Option<&'static Message> {
    MESSAGES.iter().find(|message| message.name == name)
}

fn object(message: &Message, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::Depth);
    }
    let mut object = Map::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        let Some((_, name, kind)) = message.fields.iter().find(|(n, ..)| *n == number) else { continue };
        match kind {
            Kind::Repeated(inner) => {
                let item = value(inner, &field, depth)?;
                let list = object.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(item);
                }
            }
            Kind::Map(inner) => {
                let (key, item) = entry(inner, field.bytes()?, depth)?;
                let map = object.entry(*name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, item);
                }
            }
            kind => {
                let value = value(kind, &field, depth)?;
                // The format has no absent texts and times: the empty ones are.
                if value != "" && !value.is_null() {
                    object.insert((*name).to_owned(), value);
                }
            }
        }
    }
    Ok(object)
}

fn entry(kind: &Kind, bytes: &[u8], depth: usize) -> Result<(String, Value), DecodeError> {
    let (mut key, mut item) = (String::new(), Value::String(String::new()));
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => key = field.text()?,
            2 => item = value(kind, &field, depth)?,
            _ => {}
        }
    }
    Ok((key, item))
}

fn value(kind: &Kind, field: &wire::Field<'_>, depth: usize) -> Result<Value, DecodeError> {
    Ok(match kind {
        Kind::Text => field.text()?.into(),
        Kind::Bytes => BASE64_STANDARD.encode(field.bytes()?).into(),
        Kind::Number => field.number()?.into(),
        Kind::Flag => (field.number()? != 0).into(),
        Kind::Time => time(field.bytes()?)?,
        Kind::Message(name) => match find(name) {
            Some(message) => Value::Object(object(message, field.bytes()?, depth + 1)?),
            None => Value::Null,
        },
        Kind::Repeated(_) | Kind::Map(_) => Value::Null,
    })
}

fn time(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if number == 1 {
            let at = jiff::Timestamp::from_second(field.number()?).ok();
            return Ok(at.map(super::object::time).map_or(Value::Null, Value::String));
        }
    }
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        assert!(length < 128);
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &types), field(2, raw)].concat()
    }

    #[test]
    fn a_secret() {
        let metadata = [
            field(1, b"s"),
            field(3, b"default"),
            field(8, b""),
            field(11, &[field(1, b"a"), field(2, b"b")].concat()),
        ];
        let data = [field(1, b"key"), field(2, b"value")].concat();
        let raw =
            [field(1, &metadata.concat()), field(2, &data), field(3, b"Opaque"), vec![5 << 3, 1]].concat();
        assert_eq!(
            decode(&envelope("Secret", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
                "metadata": {"name": "s", "namespace": "default", "labels": {"a": "b"}}, "data": {"key": "dmFsdWU="}})
        );
    }

    #[test]
    fn what_is_not_understood() {
        assert!(matches!(decode(b"{}"), Err(DecodeError::Magic)));
        assert!(matches!(decode(&envelope("Pod", b"")), Err(DecodeError::Unknown(_))));
        let good = envelope("Secret", &field(1, &field(1, b"s")));
        for length in 5..good.len() {
            // Cut off anywhere, it is an error or a smaller object, never a panic.
            drop(decode(&good[..length]));
        }
    }
}
