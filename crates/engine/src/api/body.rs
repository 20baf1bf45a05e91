//! Request bodies: read with a bound and a deadline, decoded by content type.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::{
    error::{ApiError, Result},
    protobuf,
};

/// As large as a real API server takes.
const MAX_BYTES: usize = 3 << 20;
/// How long a client may take to send a body.
const DEADLINE: Duration = Duration::from_secs(30);
/// Media types of objects.
const OBJECTS: &[&str] = &["application/json", "application/yaml", protobuf::MEDIA_TYPE];

/// Reads the whole body.
pub(crate) async fn read(body: Body) -> Result<Bytes> {
    let limited = Limited::new(body, MAX_BYTES).collect();
    match tokio::time::timeout(DEADLINE, limited).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {MAX_BYTES}"),
        )),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("unable to read the request body: {error}"))),
        Err(_) => Err(ApiError::new(408, "Timeout", "the request body did not arrive in time")),
    }
}

/// The media type of the body, without parameters; JSON when none was given.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match value.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        given => given,
    }
}

/// Decodes an object.
pub(crate) fn object(media_type: &str, bytes: &[u8]) -> Result<Value> {
    let value = match media_type {
        "application/json" => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(bytes),
        protobuf::MEDIA_TYPE => protobuf::decode(bytes).map_err(|e| e.to_string()),
        _ => return Err(ApiError::unsupported_media_type(OBJECTS)),
    };
    let value = value.map_err(|why| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be valid JSON or YAML): {why}"
        ))
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::bad_request("the object provided is unrecognized (must be of type map)"))
    }
}

/// Decodes YAML (JSON is YAML too).
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, String> {
    serde_saphyr::from_slice(bytes).map_err(|e| e.to_string())
}
