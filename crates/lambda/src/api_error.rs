//! Error bodies of the Runtime API itself (RT-40): status, JSON with Go's field order, trailing newline.

use http::StatusCode;

use crate::runtime_state::InvalidTransition;

/// What the Runtime API refuses, and how it says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The id is empty, unknown, not the current one, or already answered.
    #[error("Invalid request ID")]
    InvalidRequestId,
    /// A call in the wrong order.
    #[error("{0}")]
    InvalidTransition(InvalidTransition),
    /// A result over this limit.
    #[error("Exceeded maximum allowed payload size ({0} bytes).")]
    TooLarge(usize),
    /// The upload ended before it was complete.
    #[error("HTTP request detected as truncated")]
    Truncated,
    /// A response mode other than `streaming`.
    #[error("Invalid function response mode")]
    InvalidResponseMode,
    /// The answer to an invoke whose time was over, from a process that went on (several invokes at a time).
    #[error("Invoke timeout")]
    InvokeTimeout,
    /// The container is going away.
    #[error("Internal Server Error")]
    Internal,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    error_message: &'a str,
    error_type: &'a str,
}

/// RT-14: the body of every 202.
pub const ACCEPTED: &str = "{\"status\":\"OK\"}\n";

// === impl ApiError ===

impl ApiError {
    /// The status that goes with the error.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequestId | Self::Truncated | Self::InvalidResponseMode => StatusCode::BAD_REQUEST,
            Self::InvalidTransition(_) => StatusCode::FORBIDDEN,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InvokeTimeout => StatusCode::GONE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The JSON body, newline included.
    pub fn body(&self) -> String {
        let body = Body { error_message: &self.to_string(), error_type: self.error_type() };
        let mut text = serde_json::to_string(&body).expect("two strings serialise");
        text.push('\n');
        text
    }

    fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidRequestId => "InvalidRequestID",
            Self::InvalidTransition(_) => "InvalidStateTransition",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::Truncated => "TruncatedHTTPRequest",
            Self::InvalidResponseMode => "InvalidFunctionResponseMode",
            Self::InvokeTimeout => "InvokeTimeout",
            Self::Internal => "InternalServerError",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_RESULT_BYTES;
    use crate::runtime_state::{RuntimeCall, RuntimeState};

    #[test]
    fn rt_40_bodies_are_byte_exact() {
        let transition = RuntimeState::Started.after(RuntimeCall::Response).unwrap_err();
        for (error, status, body) in [
            (
                ApiError::InvalidRequestId,
                400,
                "{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}\n",
            ),
            (
                ApiError::InvalidTransition(transition),
                403,
                "{\"errorMessage\":\"State transition from Started to InvocationResponse failed for runtime. Error: State transition is not allowed\",\"errorType\":\"InvalidStateTransition\"}\n",
            ),
            (
                ApiError::TooLarge(MAX_RESULT_BYTES),
                413,
                "{\"errorMessage\":\"Exceeded maximum allowed payload size (6291556 bytes).\",\"errorType\":\"RequestEntityTooLarge\"}\n",
            ),
            (
                ApiError::Truncated,
                400,
                "{\"errorMessage\":\"HTTP request detected as truncated\",\"errorType\":\"TruncatedHTTPRequest\"}\n",
            ),
            (
                ApiError::InvalidResponseMode,
                400,
                "{\"errorMessage\":\"Invalid function response mode\",\"errorType\":\"InvalidFunctionResponseMode\"}\n",
            ),
            (
                ApiError::InvokeTimeout,
                410,
                "{\"errorMessage\":\"Invoke timeout\",\"errorType\":\"InvokeTimeout\"}\n",
            ),
            (
                ApiError::Internal,
                500,
                "{\"errorMessage\":\"Internal Server Error\",\"errorType\":\"InternalServerError\"}\n",
            ),
        ] {
            assert_eq!((error.status().as_u16(), error.body().as_str()), (status, body));
        }
    }
}
