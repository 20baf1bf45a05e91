//! Errors as Kubernetes sends them: a `Status` object with a reason, a message and a code.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::catalog::Resource;
use crate::store::{Expired, WriteError};

/// What Go's HTTP server says of a path that nobody handles.
const NO_SUCH_PATH: &str = "404 page not found";

/// A refusal, ready to be sent.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

/// One thing wrong with an object: a cause of `422 Invalid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    reason: &'static str,
    field: String,
    message: String,
}

/// What handlers return.
pub(crate) type Result<T, E = ApiError> = std::result::Result<T, E>;

// === impl ApiError ===

impl ApiError {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The machine-readable reason, such as `NotFound`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified()))
            .with_details(details(resource, name))
    }

    /// The path leads nowhere: the one refusal a server sends as plain text.
    pub(crate) fn no_such_path() -> Self {
        Self::new(404, "", NO_SUCH_PATH)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.qualified()))
            .with_details(details(resource, name))
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).with_details(details(resource, name))
    }

    /// A delete whose preconditions do not hold; it names the kind where others name the resource.
    pub(crate) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified_kind());
        let mut details = details(resource, name);
        details["kind"] = resource.kind.into();
        Self::new(409, "Conflict", message).with_details(details)
    }

    /// An applied object that does not fit its kind's schema. A server has no better code for it, and no reason.
    pub(crate) fn untyped(resource: &Resource, place: &str, problems: &[String]) -> Self {
        let all = match problems {
            [one] => one.clone(),
            many => {
                format!("errors:\n{}", many.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))
            }
        };
        let (version, kind) = (resource.api_version(), resource.kind);
        let slash = if resource.group.is_empty() { "/" } else { "" };
        Self::new(
            500,
            "",
            format!("failed to create typed patch object ({place}; {slash}{version}, Kind={kind}): {all}"),
        )
    }

    pub(crate) fn stale(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{} \"{name}\" is forbidden: {why}", resource.qualified()))
            .with_details(details(resource, name))
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        let lines: Vec<String> = errors.iter().map(FieldError::line).collect();
        let all = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {all}", resource.qualified_kind());
        let mut details = json!({"name": name, "kind": resource.kind});
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        details["causes"] = errors.iter().map(FieldError::cause).collect();
        Self::new(422, "Invalid", message).with_details(details)
    }

    pub(crate) fn expired(expired: Expired) -> Self {
        Self::new(410, "Expired", expired.to_string())
    }

    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// The write that the store refused.
    pub(crate) fn write(resource: &Resource, name: &str, error: &WriteError) -> Self {
        match error {
            WriteError::Exists(_) => Self::already_exists(resource, name),
            WriteError::Conflict(_) => Self::stale(resource, name),
            WriteError::TooLarge { .. } => Self::new(413, "RequestEntityTooLarge", error.to_string()),
            WriteError::Disk(_) => Self::internal(error),
            WriteError::Closed => Self::new(503, "ServiceUnavailable", "the server is shutting down"),
        }
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut details = self.details.clone();
        if self.code == 503 {
            details["retryAfterSeconds"] = 1.into();
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
            status["details"] = details;
        }
        status["code"] = self.code.into();
        status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.message == NO_SUCH_PATH {
            let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            return (code, headers, format!("{NO_SUCH_PATH}\n")).into_response();
        }
        let mut response =
            (code, [(header::CONTENT_TYPE, "application/json")], self.status().to_string()).into_response();
        if self.code == 503 {
            response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        response
    }
}

/// `details` of errors about one object.
pub(crate) fn details(resource: &Resource, name: &str) -> Value {
    match resource.group {
        "" => json!({"name": name, "kind": resource.plural}),
        group => json!({"name": name, "group": group, "kind": resource.plural}),
    }
}

// === impl FieldError ===

impl FieldError {
    pub(crate) fn invalid(field: impl Into<String>, value: &str, why: impl std::fmt::Display) -> Self {
        let message = format!("Invalid value: {value:?}: {why}");
        Self { reason: "FieldValueInvalid", field: field.into(), message }
    }

    pub(crate) fn required(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { reason: "FieldValueRequired", field: field.into(), message: format!("Required value: {why}") }
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {why}") }
    }

    /// A message that is already in the server's form.
    pub(crate) fn raw(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }

    fn line(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }

    fn cause(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}
