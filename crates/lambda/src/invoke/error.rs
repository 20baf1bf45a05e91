//! How the Invoke API refuses (7.4, IN-19): a status, a name for the header, a JSON body. The case of the body's keys differs
//! from error to error, and typed SDKs read exactly the modelled one.

use http::StatusCode;
use serde_json::json;

/// A call that did not reach the function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// No such function or version; the ARN that was meant.
    #[error("Function not found: {0}")]
    NotFound(String),
    /// A parameter breaks its constraint.
    #[error("1 validation error detected: {0}")]
    Validation(String),
    /// Two qualifiers that differ.
    #[error("The derived qualifier from the function name does not match the specified qualifier.")]
    QualifierMismatch,
    /// The payload is no JSON; the parser's words.
    #[error("Could not parse request body into json: Could not parse payload into json: {0}")]
    NotJson(String),
    /// The client context is no JSON object in base64, or too long.
    #[error("Client context must be a valid Base64-encoded JSON object of at most 3583 bytes.")]
    ClientContext,
    /// The payload is larger than this many bytes.
    #[error("Request must be smaller than {0} bytes for the InvokeFunction operation")]
    TooLarge(usize),
    /// The payload broke off, or did not arrive in time.
    #[error("Could not read the request body: {0}")]
    Unreadable(&'static str),
    /// Everything is busy; try again.
    #[error("Rate Exceeded.")]
    TooManyRequests,
    /// The platform is to blame, and the function has not run.
    #[error("{0}")]
    Service(&'static str),
    /// The platform is going away, and the function has not run.
    #[error("The function is being stopped.")]
    Stopping,
    /// A path under the API's versions that nothing is behind.
    #[error("Unknown operation")]
    UnknownPath,
    /// A known path with another method than POST.
    #[error("Method not allowed")]
    WrongMethod,
}

// === impl InvokeError ===

impl InvokeError {
    /// A value that breaks a constraint, in AWS's words.
    pub(super) fn validation(value: &str, member: &str, constraint: &str) -> Self {
        Self::Validation(format!("Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"))
    }

    pub(super) fn not_in_enum(value: &str, member: &str, set: &str) -> Self {
        Self::validation(value, member, &format!("Member must satisfy enum value set: {set}"))
    }

    pub(super) fn not_in_pattern(value: &str, member: &str, pattern: &str) -> Self {
        Self::validation(value, member, &format!("Member must satisfy regular expression pattern: {pattern}"))
    }

    pub(super) fn function_name(value: &str) -> Self {
        let pattern = "(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";
        Self::not_in_pattern(value, "functionName", pattern)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Validation(_)
            | Self::QualifierMismatch
            | Self::NotJson(_)
            | Self::ClientContext
            | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Service(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// `x-amzn-ErrorType`, which is where SDKs take the error from.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "ResourceNotFoundException",
            Self::Validation(_) => "ValidationException",
            Self::QualifierMismatch => "InvalidParameterValueException",
            Self::NotJson(_) | Self::ClientContext | Self::Unreadable(_) => "InvalidRequestContentException",
            // The model's name, which SDKs can map; AWS was seen to send another one (12.20).
            Self::TooLarge(_) => "RequestTooLargeException",
            Self::TooManyRequests => "TooManyRequestsException",
            Self::Service(_) | Self::Stopping => "ServiceException",
            Self::UnknownPath => "UnknownOperationException",
            Self::WrongMethod => "MethodNotAllowedException",
        }
    }

    /// The JSON body.
    pub fn body(&self) -> String {
        let text = self.to_string();
        let body = match self {
            Self::NotFound(_) => json!({"Type": "User", "Message": text}),
            Self::Service(_) | Self::Stopping => json!({"Type": "Service", "Message": text}),
            Self::Validation(_) | Self::UnknownPath | Self::WrongMethod => json!({"message": text}),
            Self::TooManyRequests => {
                json!({"Reason": "ConcurrentInvocationLimitExceeded", "Type": "User", "message": text})
            }
            Self::QualifierMismatch
            | Self::NotJson(_)
            | Self::ClientContext
            | Self::TooLarge(_)
            | Self::Unreadable(_) => json!({"Type": "User", "message": text}),
        };
        body.to_string()
    }

    /// Whether the same call may go well a little later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::TooManyRequests | Self::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_19_bodies_have_the_modelled_keys() {
        for (error, status, name, body) in [
            (
                InvokeError::TooLarge(6_291_456),
                413,
                "RequestTooLargeException",
                r#"{"Type":"User","message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}"#,
            ),
            (
                InvokeError::TooManyRequests,
                429,
                "TooManyRequestsException",
                r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
            ),
            (
                InvokeError::validation("x y", "functionName", "c"),
                400,
                "ValidationException",
                r#"{"message":"1 validation error detected: Value 'x y' at 'functionName' failed to satisfy constraint: c"}"#,
            ),
            (InvokeError::Service("lost"), 500, "ServiceException", r#"{"Type":"Service","Message":"lost"}"#),
        ] {
            assert_eq!((error.status().as_u16(), error.name(), error.body().as_str()), (status, name, body));
        }
        let not_json = InvokeError::NotJson("x".to_owned()).body();
        let prefix = r#"{"Type":"User","message":"Could not parse request body into json: Could not parse payload into json: "#;
        assert!(not_json.starts_with(prefix), "{not_json}");
    }
}
