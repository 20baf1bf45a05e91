//! From HTTP to an event and from an outcome back to HTTP. One variant per form that callers speak.

mod http;
mod plain;
mod streamed;

use ::http::request::Parts;
use ::http::{HeaderValue, Response};
use bytes::Bytes;
use jiff::Timestamp;
use tm_lambda::RequestId;
use tm_serve::Peer;

use crate::config::{Config, EventFormat};
use crate::front::outgoing::Body;
use crate::invocation::{Context, Event, Outcome, ResultBody};
use http::Http;

/// How callers speak.
#[derive(Debug)]
pub(crate) enum Codec {
    /// Any method and path; the body is the event, the result is the body (section 8.8).
    Plain,
    /// As a front of AWS's passes requests on (8.1 to 8.6).
    Http(Box<Http>),
}

/// A request that is there in full.
pub(crate) struct Arrived {
    pub(crate) id: RequestId,
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
    pub(crate) time: Timestamp,
    pub(crate) peer: Peer,
}

/// Why a request does not become an invoke, or an invoke has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The body is over the limit.
    TooLarge,
    /// The body broke off.
    Incomplete,
    /// The body did not arrive in time.
    TooSlow,
    /// The queue is full.
    Full,
    /// The shim lost the invoke.
    Lost,
}

// === impl Codec ===

impl Codec {
    /// The codec of the configured form.
    pub(crate) fn new(config: &Config) -> Self {
        match config.front.format {
            EventFormat::Plain => Self::Plain,
            EventFormat::Http(format) => Self::Http(Box::new(Http::new(format, &config.front))),
        }
    }

    /// The largest request body, where the form has a limit of its own.
    pub(crate) fn max_body_bytes(&self) -> usize {
        match self {
            Self::Plain => usize::MAX,
            Self::Http(http) => http.max_body_bytes(),
        }
    }

    /// The event for a request, and what else the runtime is told.
    pub(crate) fn event(&self, request: Arrived, arn: HeaderValue) -> (Event, Context) {
        match self {
            Self::Plain => plain::event(request, arn),
            Self::Http(http) => http.event(&request, arn),
        }
    }

    /// What answers say about the trace (HT-25).
    pub(crate) fn said_trace(&self, context: &Context) -> Option<HeaderValue> {
        match self {
            Self::Plain => None,
            Self::Http(_) => http::root(context.trace.as_ref()?),
        }
    }

    /// The answer for an outcome.
    pub(crate) async fn answer(&self, id: RequestId, outcome: Outcome, strict: bool) -> Response<Body> {
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
            Self::Http(http) => http.answer(id, outcome),
        }
    }

    /// The answer for a request that nothing comes of.
    pub(crate) fn refuse(&self, id: RequestId, refusal: Refusal) -> Response<Body> {
        match self {
            Self::Plain => plain::refuse(id, refusal),
            Self::Http(http) => http.refuse(id, refusal),
        }
    }
}
