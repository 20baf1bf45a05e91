//! The CloudEvent of a tick, in the HTTP binding's binary mode: attributes are headers, the data is the body.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::body::Bytes;
use jiff::Timestamp;
use kube::ResourceExt;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tm_resources::sources::{PING_TYPE, PingSource, ping_source};

/// What headers may not hold as it is (CloudEvents, HTTP binding, 3.1.3.2).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// What all events of a source have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    source: String,
    extensions: Vec<(String, String)>,
    content_type: Option<String>,
    data: Bytes,
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Names and values of headers.
    pub(super) headers: Vec<(String, String)>,
    /// The data.
    pub(super) body: Bytes,
}

// === impl Template ===

impl Template {
    pub(super) fn of(source: &PingSource) -> Self {
        let spec = &source.spec;
        let encoded = spec.data_base64.as_deref().filter(|data| !data.is_empty());
        let data = match encoded {
            // Admission has seen that it can be decoded.
            Some(encoded) => BASE64_STANDARD.decode(encoded).unwrap_or_default(),
            None => spec.data.clone().unwrap_or_default().into_bytes(),
        };
        let extensions = spec.ce_overrides.iter().flat_map(|overrides| overrides.extensions.clone());
        Self {
            source: ping_source(&source.namespace().unwrap_or_default(), &source.name_any()),
            extensions: extensions.collect(),
            content_type: spec.content_type.clone().filter(|kind| !kind.is_empty() && !data.is_empty()),
            data: data.into(),
        }
    }

    /// The event of a tick.
    pub(super) fn event(&self, at: Timestamp) -> Event {
        let attribute =
            |name: &str, value: &str| (format!("ce-{name}"), utf8_percent_encode(value, ENCODED).to_string());
        let mut headers = vec![
            attribute("specversion", "1.0"),
            attribute("type", PING_TYPE),
            attribute("source", &self.source),
            attribute("id", &uuid::Uuid::new_v4().to_string()),
            attribute("time", &at.to_string()),
        ];
        headers.extend(self.extensions.iter().map(|(name, value)| attribute(name, value)));
        headers.extend(self.content_type.clone().map(|kind| ("content-type".to_owned(), kind)));
        Event { headers, body: self.data.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(spec: serde_json::Value) -> Event {
        let mut whole = json!({"schedule": "* * * * *", "sink": {"uri": "http://a"}});
        json_patch::merge(&mut whole, &spec);
        let source = json!({"apiVersion": "sources.knative.dev/v1", "kind": "PingSource",
            "metadata": {"name": "p", "namespace": "ns"}, "spec": whole});
        let source: PingSource = serde_json::from_value(source).expect("a PingSource");
        Template::of(&source).event(Timestamp::UNIX_EPOCH)
    }

    fn header<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
        event.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn text_with_its_type_and_what_is_added() {
        let event = event(json!({"contentType": "application/json", "data": "{\"a\": 1}",
            "ceOverrides": {"extensions": {"team": "Größe 1"}}}));
        assert_eq!(event.body, "{\"a\": 1}");
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-type", "dev.knative.sources.ping"),
            ("ce-source", "/apis/v1/namespaces/ns/pingsources/p"),
            ("ce-time", "1970-01-01T00:00:00Z"),
            ("ce-team", "Gr%C3%B6%C3%9Fe%201"),
            ("content-type", "application/json"),
        ];
        for (name, value) in expected {
            assert_eq!(header(&event, name), Some(value), "{name}");
        }
        assert_eq!(header(&event, "ce-id").map(str::len), Some(36));
    }

    #[test]
    fn bytes_and_nothing() {
        assert_eq!(event(json!({"dataBase64": "AAE="})).body, [0, 1].as_slice());
        let empty = event(json!({"contentType": "text/plain"}));
        assert!(empty.body.is_empty());
        assert_eq!(header(&empty, "content-type"), None);
    }
}
