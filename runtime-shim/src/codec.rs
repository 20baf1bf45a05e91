//! From HTTP to an event and from an outcome back to HTTP. One variant per form that callers speak.

mod plain;
mod streamed;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tm_lambda::RequestId;

use crate::front::outgoing::Body;
use crate::invocation::{Event, Outcome, ResultBody};

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
    pub(crate) async fn answer(self, id: RequestId, outcome: Outcome, strict: bool) -> Response<Body> {
        let outcome = match outcome {
            Outcome::Success(ResultBody::Stream(stream)) => match streamed::begin(id, stream, strict).await {
                Ok(response) => return response,
                Err(outcome) => outcome,
            },
            Outcome::Success(ResultBody::Whole(whole)) if streamed::has_prelude(&whole.form) => {
                match streamed::whole(id, &whole) {
                    Ok(response) => return response,
                    Err(outcome) => outcome,
                }
            }
            outcome => outcome,
        };
        match self {
            Self::Plain => plain::answer(id, outcome),
        }
    }
}
