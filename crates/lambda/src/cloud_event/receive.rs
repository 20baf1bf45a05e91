//! Events as they come (9.1).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode_str;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::CloudEvent;
use crate::limits::MAX_CLOUD_EVENT_ATTRIBUTES;

/// What a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// One event.
    One(CloudEvent),
    /// Several.
    Batch(Vec<CloudEvent>),
    /// No CloudEvent; whether it calls itself JSON, as then there is a context without attributes (CE-09).
    Other {
        /// `application/json`.
        json: bool,
    },
}

/// Why a request that says that it is a CloudEvent is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// A format other than JSON.
    #[error("CloudEvents of the format `{0}` are not supported; JSON is")]
    Format(String),
    /// No JSON object.
    #[error("a structured CloudEvent is a JSON object: {0}")]
    NotAnObject(String),
    /// No JSON array.
    #[error("a batch of CloudEvents is a JSON array: {0}")]
    NotAnArray(String),
    /// An attribute that every event has.
    #[error("the attribute `{0}` is missing or empty")]
    Missing(&'static str),
    /// A version that nobody knows.
    #[error("`specversion` `{0}` is not supported; 1.0 is")]
    Version(String),
    /// `data_base64` that is none, or beside `data`.
    #[error("`data_base64` is base64 text, and the only data")]
    Base64,
    /// A header that is no text.
    #[error("the attribute `{0}` is not UTF-8 text")]
    NotText(String),
    /// More than a header of the Runtime API should carry.
    #[error("the attributes are larger than {MAX_CLOUD_EVENT_ATTRIBUTES} bytes")]
    TooLarge,
}

const STRUCTURED: &str = "application/cloudevents";
const BATCH: &str = "application/cloudevents-batch";
const PREFIX: &str = "ce-";
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Tells what a request is, and reads it (CE-01).
///
/// # Errors
///
/// When it calls itself a CloudEvent and is none.
pub fn receive(headers: &HeaderMap, body: &[u8]) -> Result<Received, BadEvent> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if let Some(format) = essence.strip_prefix(BATCH) {
        json_only(format)?;
        let events: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|error| BadEvent::NotAnArray(error.to_string()))?;
        let events = events.into_iter().map(|event| structured(event.get().as_bytes()));
        return events.collect::<Result<_, _>>().map(Received::Batch);
    }
    if let Some(format) = essence.strip_prefix(STRUCTURED) {
        json_only(format)?;
        return structured(body).map(Received::One);
    }
    if REQUIRED.iter().all(|name| headers.contains_key(format!("{PREFIX}{name}"))) {
        return binary(headers, &essence, body).map(Received::One);
    }
    Ok(Received::Other { json: essence == crate::headers::JSON })
}

fn json_only(format: &str) -> Result<(), BadEvent> {
    match format {
        "" | "+json" => Ok(()),
        other => Err(BadEvent::Format(other.trim_start_matches('+').to_owned())),
    }
}

/// CE-04, CE-08.
fn structured(json: &[u8]) -> Result<CloudEvent, BadEvent> {
    let mut members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(json).map_err(|error| BadEvent::NotAnObject(error.to_string()))?;
    let (data, encoded) = (members.remove("data"), members.remove("data_base64"));
    let attributes: BTreeMap<String, String> =
        members.into_iter().filter_map(|(name, value)| Some((name, text_of(value)?))).collect();
    let json_type = attributes.get("datacontenttype").is_none_or(|text| is_json_type(text));
    let data = match (data, encoded) {
        (Some(_), Some(_)) => return Err(BadEvent::Base64),
        (Some(data), None) => crate::http_event::compact(data.get().as_bytes()).into(),
        (None, Some(encoded)) => {
            let text: String = serde_json::from_str(encoded.get()).map_err(|_| BadEvent::Base64)?;
            let bytes = STANDARD.decode(&text).map_err(|_| BadEvent::Base64)?;
            if json_type && is_json(&bytes) { bytes.into() } else { quoted(&text) }
        }
        (None, None) => Bytes::from_static(b"null"),
    };
    checked(CloudEvent { attributes, data })
}

/// CE-02, CE-03, CE-09.
fn binary(headers: &HeaderMap, content_type: &str, body: &[u8]) -> Result<CloudEvent, BadEvent> {
    let mut attributes: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| BadEvent::NotText(name.to_owned()))?;
        let value = decoded(value).ok_or_else(|| BadEvent::NotText(name.to_owned()))?;
        let entry = attributes.entry(name.to_owned());
        entry.and_modify(|before| *before = format!("{before},{value}")).or_insert(value);
    }
    let json_type = content_type.is_empty() || is_json_type(content_type);
    let data = if body.is_empty() {
        Bytes::from_static(b"null")
    } else if json_type && is_json(body) {
        Bytes::copy_from_slice(body)
    } else {
        match std::str::from_utf8(body) {
            Ok(text) => quoted(text),
            Err(_) => quoted(&STANDARD.encode(body)),
        }
    };
    checked(CloudEvent { attributes, data })
}

/// A header's value: unquoted where it is a quoted string, then percent-decoded once.
fn decoded(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let plain = match inner {
        Some(inner) => {
            let (mut plain, mut letters) = (String::with_capacity(inner.len()), inner.chars());
            while let Some(letter) = letters.next() {
                plain.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
            }
            plain
        }
        None => value.to_owned(),
    };
    percent_decode_str(&plain).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// What every event must have.
fn checked(event: CloudEvent) -> Result<CloudEvent, BadEvent> {
    let get = |name| event.attributes.get(name).map(String::as_str).filter(|text: &&str| !text.is_empty());
    for name in REQUIRED {
        get(name).ok_or(BadEvent::Missing(name))?;
    }
    match get("specversion") {
        Some("1.0" | "0.3") => {}
        other => return Err(BadEvent::Version(other.unwrap_or_default().to_owned())),
    }
    let size: usize = event.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_CLOUD_EVENT_ATTRIBUTES { Err(BadEvent::TooLarge) } else { Ok(event) }
}

/// CE-06: every attribute as text; `null` means that there is none.
fn text_of(value: &RawValue) -> Option<String> {
    match serde_json::from_str(value.get()) {
        Ok(Value::Null) => None,
        Ok(Value::String(text)) => Some(text),
        _ => Some(value.get().to_owned()),
    }
}

fn is_json_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == crate::headers::JSON || essence == "text/json" || essence.ends_with("+json")
}

fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn quoted(text: &str) -> Bytes {
    serde_json::to_vec(text).expect("a text serialises").into()
}
