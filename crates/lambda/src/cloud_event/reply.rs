//! Results as events (9.3).

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// What a result is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// The data of an event.
    #[default]
    Data,
    /// The event itself, in structured form.
    Event,
}

/// How results become events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// What a result is.
    pub mode: ReplyMode,
    /// `type`; empty means that nothing is replied (CE-14).
    pub event_type: String,
    /// `source`.
    pub source: String,
    /// `subject`, where there is to be one.
    pub subject: Option<String>,
}

/// A result that is no event although it should be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result is not a CloudEvent: a JSON object")]
pub struct BadReply;

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

const VERSION: &str = "1.0";

// === impl Replies ===

impl Replies {
    /// The structured event for a result; `None` when there is nothing to reply (CE-12).
    ///
    /// # Errors
    ///
    /// In [`ReplyMode::Event`] when the result is no JSON object.
    pub fn reply(&self, result: &[u8], now: Timestamp) -> Result<Option<Bytes>, BadReply> {
        if result.is_empty() {
            return Ok(None);
        }
        match self.mode {
            ReplyMode::Data if self.event_type.is_empty() => Ok(None),
            ReplyMode::Data => Ok(Some(self.wrap(result, now))),
            ReplyMode::Event => self.complete(result, now).map(Some),
        }
    }

    /// CE-13: objects and arrays as they are; everything else as text, bytes that are no text as base64.
    fn wrap(&self, result: &[u8], now: Timestamp) -> Bytes {
        let Some(text) = std::str::from_utf8(result).ok() else {
            return self.event(now, "application/octet-stream", None, Some(STANDARD.encode(result)));
        };
        let raw: Option<&RawValue> = serde_json::from_str(text).ok();
        match raw.filter(|raw| raw.get().starts_with(['{', '['])) {
            Some(raw) => self.event(now, crate::headers::JSON, Some(raw), None),
            None => {
                let text = serde_json::from_str(text).unwrap_or_else(|_| trimmed(text).to_owned());
                let quoted = serde_json::to_string(&text).expect("a text serialises");
                let quoted: Option<&RawValue> = serde_json::from_str(&quoted).ok();
                self.event(now, "text/plain", quoted, None)
            }
        }
    }

    fn event(
        &self,
        now: Timestamp,
        datacontenttype: &'static str,
        data: Option<&RawValue>,
        data_base64: Option<String>,
    ) -> Bytes {
        let event = Event {
            specversion: VERSION,
            id: Uuid::new_v4().to_string(),
            event_type: &self.event_type,
            source: &self.source,
            subject: self.subject.as_deref(),
            time: now.to_string(),
            datacontenttype,
            data,
            data_base64,
        };
        serde_json::to_vec(&event).expect("texts serialise").into()
    }

    /// CE-15: what is missing is filled in; what is there stays as it was written.
    fn complete(&self, result: &[u8], now: Timestamp) -> Result<Bytes, BadReply> {
        let mut fields: BTreeMap<String, Cow<'_, RawValue>> = BTreeMap::new();
        let given: BTreeMap<String, &RawValue> = serde_json::from_slice(result).map_err(|_| BadReply)?;
        fields.extend(given.into_iter().map(|(name, value)| (name, Cow::Borrowed(value))));
        let mut default = |name: &str, value: String| {
            if fields.get(name).is_none_or(|value| ["null", "\"\""].contains(&value.get())) {
                let value = serde_json::value::to_raw_value(&value).expect("a text serialises");
                fields.insert(name.to_owned(), Cow::Owned(value));
            }
        };
        default("specversion", VERSION.to_owned());
        default("id", Uuid::new_v4().to_string());
        default("type", self.event_type.clone());
        default("source", self.source.clone());
        default("time", now.to_string());
        if let Some(subject) = &self.subject {
            default("subject", subject.clone());
        }
        Ok(serde_json::to_vec(&fields).expect("JSON serialises").into())
    }
}

/// Without white space and quotes around it.
fn trimmed(text: &str) -> &str {
    text.trim().trim_matches('"')
}
