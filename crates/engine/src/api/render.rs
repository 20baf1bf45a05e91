//! How a client wants objects back: whole, metadata only, or as a table.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::{
    dispatch::{Call, json_response},
    error::{ApiError, Result},
    table,
};

/// The form of objects in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Whole,
    /// `PartialObjectMetadata`.
    Partial,
    /// `Table`.
    Table,
}

// === impl Form ===

impl Form {
    /// Reads `Accept`: the first alternative this server speaks.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Self> {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
        let mut any = false;
        for media in accept.flat_map(|value| value.split(',')).map(str::trim).filter(|m| !m.is_empty()) {
            any = true;
            if let Some(form) = Self::of(media) {
                return Ok(form);
            }
        }
        if any { Err(not_acceptable()) } else { Ok(Self::Whole) }
    }

    fn of(media: &str) -> Option<Self> {
        let mut parts = media.split(';').map(str::trim);
        let name = parts.next()?;
        if !matches!(name, "application/json" | "*/*" | "application/*") {
            return None;
        }
        match parts.find_map(|p| p.strip_prefix("as=")) {
            None => Some(Self::Whole),
            Some("Table") => Some(Self::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Partial),
            Some(_) => None,
        }
    }
}

fn not_acceptable() -> ApiError {
    ApiError::new(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json, application/json;stream=watch",
    )
}

/// One object as an answer.
pub(crate) fn object(call: &Call, code: u16, json: &Bytes, warnings: &[String]) -> Response {
    let body = match call.form {
        Form::Whole => json.clone(),
        Form::Partial => partial(json).to_string().into(),
        Form::Table => table::single(call.resource, json, call.include, true),
    };
    let mut response = json_response(code, body);
    for warning in warnings {
        let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// Only what every kind has.
pub(crate) fn partial(json: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(json).unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"].take()})
}
