//! What callers of aws-custom-runtime are used to, in its place only: 410 for a timeout (CE-20), and the type `plain/text`
//! (CE-21, HT-56). Everything else that it did differently was a mistake, and is not repeated.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use super::outgoing::Body;
use crate::config::EventFormat;

/// An answer about an invoke, as that program would have given it.
pub(super) fn answer(mut response: Response<Body>, format: EventFormat) -> Response<Body> {
    if matches!(format, EventFormat::Http(_)) {
        return response;
    }
    if response.status() == StatusCode::GATEWAY_TIMEOUT {
        *response.status_mut() = StatusCode::GONE;
    }
    let told =
        matches!(response.status(), StatusCode::OK | StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GONE);
    if told && format == EventFormat::Plain {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("plain/text"));
    }
    response
}
