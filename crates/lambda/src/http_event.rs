//! HTTP as Lambda functions see it (section 8): requests become JSON events, JSON results become answers.
//!
//! One [`HttpFormat`] per front of AWS's. Web frameworks guess the format from the keys of an event, so each has exactly the
//! keys that AWS sends. Nothing here does I/O: `runtime-shim`'s codec feeds it.

mod alb;
mod answer;
mod base64_text;
mod cors;
mod request;
mod v1;
mod v2;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

pub(crate) use answer::compact;
pub use answer::{BadResult, HttpAnswer};
pub use cors::Cors;
pub use request::{Api, HttpRequest};

use crate::limits::{HTTP_API_TIMEOUT, MAX_API_HEAD_BYTES, REST_API_TIMEOUT};

/// Which front of AWS's an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpFormat {
    /// API Gateway REST API, payload 1.0.
    ApiGatewayV1,
    /// API Gateway HTTP API, payload 2.0.
    ApiGatewayV2,
    /// Lambda Function URL: payload 2.0 with rules of its own.
    FunctionUrl,
    /// Application Load Balancer, single values.
    Alb,
    /// Application Load Balancer with multi-value headers.
    AlbMultiValue,
}

/// What a caller gets instead of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The function failed, timed out, or gave something that is no answer.
    Function,
    /// It has not run: everything is busy.
    Busy,
    /// The time passed before a worker was free, or the front's own before there was an answer.
    Expired,
    /// It has not run: the platform stops or is broken.
    Unavailable,
    /// The request's body is too large.
    TooLarge,
    /// The request's head is too large.
    HeadTooLarge,
    /// The request is of no use: its body did not arrive, or it is of a kind that the front does not take.
    Unreadable,
}

// === impl HttpFormat ===

impl HttpFormat {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ApiGatewayV1, Self::ApiGatewayV2, Self::FunctionUrl, Self::Alb, Self::AlbMultiValue];

    /// The event for a request, as JSON.
    pub fn event(self, request: &HttpRequest<'_>, api: &Api) -> Bytes {
        match self {
            Self::ApiGatewayV1 => v1::event(request, api),
            Self::ApiGatewayV2 => v2::event(request, api, v2::Flavour::HttpApi),
            Self::FunctionUrl => v2::event(request, api, v2::Flavour::FunctionUrl),
            Self::Alb => alb::event(request, api, alb::Values::Single),
            Self::AlbMultiValue => alb::event(request, api, alb::Values::Multi),
        }
    }

    /// The answer for a result.
    ///
    /// # Errors
    ///
    /// When the result is none; the caller then gets [`Trouble::Function`].
    pub fn answer(self, result: &[u8]) -> Result<HttpAnswer, BadResult> {
        match self {
            Self::ApiGatewayV1 => v1::answer(result),
            Self::ApiGatewayV2 | Self::FunctionUrl => v2::answer(result),
            Self::Alb => alb::answer(result, alb::Values::Single),
            Self::AlbMultiValue => alb::answer(result, alb::Values::Multi),
        }
    }

    /// The answer for a result that is no stream where streams are expected: a Function URL applies status, headers and
    /// cookies, and gives the whole JSON as the body (HT-29, HT-30).
    ///
    /// # Errors
    ///
    /// As [`HttpFormat::answer`].
    pub fn answer_as_stream(self, result: &Bytes) -> Result<HttpAnswer, BadResult> {
        match self {
            Self::FunctionUrl => v2::answer_as_stream(result),
            _ => self.answer(result),
        }
    }

    /// The status, content type and body for trouble (HT-23, HT-48, HT-49, HT-54).
    pub fn trouble(self, trouble: Trouble) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::ApiGatewayV1 => v1::trouble(trouble),
            Self::ApiGatewayV2 => v2::trouble(trouble, v2::Flavour::HttpApi),
            Self::FunctionUrl => v2::trouble(trouble, v2::Flavour::FunctionUrl),
            Self::Alb | Self::AlbMultiValue => alb::trouble(trouble),
        }
    }

    /// Why the front does not take a request with this head, if it does not: each has limits (LM-26, LM-27), and load balancers
    /// pass no web sockets on to functions (HT-54).
    pub fn refuses(self, uri: &Uri, headers: &HeaderMap) -> Option<Trouble> {
        match self {
            Self::ApiGatewayV1 | Self::ApiGatewayV2 => {
                let size = request::line_size(uri) + headers.values().map(HeaderValue::len).sum::<usize>();
                (size > MAX_API_HEAD_BYTES).then_some(Trouble::HeadTooLarge)
            }
            Self::Alb | Self::AlbMultiValue => {
                let web_socket = request::asks_for_web_socket(headers).then_some(Trouble::Unreadable);
                web_socket.or_else(|| alb::is_too_large(uri, headers).then_some(Trouble::HeadTooLarge))
            }
            Self::FunctionUrl => None,
        }
    }

    /// How long the front waits for an answer, where that is not the function's timeout (LM-26).
    pub fn timeout(self) -> Option<Duration> {
        match self {
            Self::ApiGatewayV1 => Some(REST_API_TIMEOUT),
            Self::ApiGatewayV2 => Some(HTTP_API_TIMEOUT),
            Self::FunctionUrl | Self::Alb | Self::AlbMultiValue => None,
        }
    }

    /// The largest request body, where the front has a limit below Lambda's (LM-27).
    pub fn max_body_bytes(self) -> usize {
        match self {
            Self::Alb | Self::AlbMultiValue => crate::limits::MAX_ALB_BYTES,
            _ => usize::MAX,
        }
    }
}

#[cfg(test)]
mod tests;
