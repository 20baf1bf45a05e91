//! From HTTP to an event and from an outcome back to HTTP. One variant per form that callers speak.

mod plain;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::Full;
use tm_lambda::RequestId;

use crate::invocation::{Event, Outcome};

/// The body of every answer.
pub(crate) type Body = Full<Bytes>;

/// How a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Any method and path; the body is the event, the result is the body (section 8.8).
    Plain,
}

// === impl Codec ===

impl Codec {
    /// The event for a request.
    pub(crate) fn event(self, parts: &Parts, body: Bytes) -> Event {
        match self {
            Self::Plain => plain::event(&parts.headers, body),
        }
    }

    /// The answer for an outcome.
    pub(crate) fn answer(self, id: RequestId, outcome: Outcome) -> Response<Body> {
        match self {
            Self::Plain => plain::answer(id, outcome),
        }
    }
}
