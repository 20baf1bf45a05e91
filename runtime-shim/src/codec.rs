//! From HTTP to an event and from an outcome back to HTTP. One variant per form that callers speak.

pub(crate) mod cloud_events;
mod http;
mod plain;
mod streamed;

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use jiff::Timestamp;
use tm_lambda::cloud_event::Replies;
use tm_lambda::{RequestId, TraceId};
use tm_serve::Peer;

use crate::config::{Config, EventFormat, Front, Sink};
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
    /// CloudEvents, as aws-custom-runtime maps them (section 9).
    CloudEvents(Box<Replies>),
}

/// What a request asks for.
pub(crate) enum Work {
    /// One invoke.
    One(Event, Context),
    /// Several, one after the other.
    Several(Vec<(Event, Context)>),
    /// None; this is the answer.
    Refused(Response<Body>),
}

/// A request that is there in full.
pub(crate) struct Arrived {
    pub(crate) id: RequestId,
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
    pub(crate) time: Timestamp,
    pub(crate) peer: Peer,
    pub(crate) trace: Option<TraceId>,
}

// === impl Arrived ===

impl Arrived {
    /// The trace as the runtime is told of it (RT-19).
    fn told_trace(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.trace.as_ref()?.to_string()).ok()
    }
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
    /// The front's own time is over.
    NoAnswer,
}

// === impl Codec ===

impl Codec {
    /// The codec of the configured form.
    pub(crate) fn new(config: &Config) -> Self {
        match config.front.format {
            EventFormat::Plain => Self::Plain,
            EventFormat::Http(format) => Self::Http(Box::new(Http::new(format, &config.front))),
            EventFormat::CloudEvents => Self::CloudEvents(Box::new(config.front.replies.clone())),
        }
    }

    /// The largest request body, where the form has a limit of its own.
    pub(crate) fn max_body_bytes(&self) -> usize {
        match self {
            Self::Http(http) => http.max_body_bytes(),
            Self::Plain | Self::CloudEvents(_) => usize::MAX,
        }
    }

    /// The event for a request, and what else the runtime is told.
    pub(crate) fn work(&self, request: Arrived, arn: HeaderValue) -> Work {
        let (event, context) = match self {
            Self::Plain => plain::event(request, arn),
            Self::Http(http) => match http.refusal(request.id, &request.parts) {
                Some(refusal) => return Work::Refused(refusal),
                None => http.event(&request, arn),
            },
            Self::CloudEvents(_) => return cloud_events::work(request, arn),
        };
        Work::One(event, context)
    }

    /// Whether callers can get streams as streams.
    pub(crate) fn streams(&self, config: &Front) -> bool {
        config.streams && config.sink.is_none() && !matches!(self, Self::CloudEvents(_))
    }

    /// Where results go instead of to callers, who then get an empty answer (CE-24).
    pub(crate) fn sink<'a>(&self, config: &'a Front) -> Option<&'a Sink> {
        config.sink.as_ref().filter(|_| !matches!(self, Self::Http(_)))
    }

    /// The trace that a request is part of: the caller's, else a new one where the form always has one.
    pub(crate) fn trace(&self, fields: &HeaderMap, time: Timestamp) -> Option<TraceId> {
        let new = || {
            let seconds = u32::try_from(time.as_second()).unwrap_or_default();
            matches!(self, Self::Http(_)).then(|| TraceId::mint(seconds))
        };
        TraceId::of(fields).or_else(new)
    }

    /// What all answers say about it (HT-25).
    pub(crate) fn said_trace(&self, trace: Option<&TraceId>) -> Option<HeaderValue> {
        match self {
            Self::Plain | Self::CloudEvents(_) => None,
            Self::Http(_) => HeaderValue::try_from(trace?.root()).ok(),
        }
    }

    /// The answer for an outcome.
    pub(crate) async fn answer(&self, id: RequestId, outcome: Outcome, strict: bool) -> Response<Body> {
        let outcome = match outcome {
            Outcome::Success(ResultBody::Stream(stream)) => {
                match Box::pin(streamed::begin(id, stream, strict)).await {
                    Ok(response) => return response,
                    Err(outcome) => outcome,
                }
            }
            Outcome::Success(ResultBody::Whole(whole)) if streamed::has_prelude(&whole) => {
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
            Self::CloudEvents(replies) => cloud_events::answer(id, outcome, replies),
        }
    }

    /// The answer for a request that nothing comes of.
    pub(crate) fn refuse(&self, id: RequestId, refusal: Refusal) -> Response<Body> {
        match self {
            Self::Plain | Self::CloudEvents(_) => plain::refuse(id, refusal),
            Self::Http(http) => http.refuse(id, refusal),
        }
    }
}
