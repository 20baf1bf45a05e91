//! Streams on their way to HTTP callers: the prelude becomes status and headers, the rest the body (HT-27, HT-28, HT-34).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tm_lambda::prelude::{InvalidPrelude, Prelude, Scanner};
use tm_lambda::{FunctionError, RequestId, headers};

use crate::front::answer;
use crate::front::outgoing::{self, Body, Mishap};
use crate::invocation::{Outcome, ResponseStream, Whole};

/// A stream's answer; or how the invoke failed, as nothing has been sent yet.
pub(super) async fn begin(
    id: RequestId,
    mut stream: ResponseStream,
    strict: bool,
) -> Result<Response<Body>, Outcome> {
    let mishap = Mishap::of(strict);
    if !is_http(stream.content_type.as_ref()) {
        let content_type = stream.content_type.take();
        let fields = content_type.into_iter().map(|value| (CONTENT_TYPE, value)).collect();
        return Ok(respond(id, StatusCode::OK, fields, outgoing::stream(stream, mishap)));
    }
    let mut scanner = Scanner::default();
    let mut seen = false;
    while let Some(piece) = stream.data_rx.recv().await {
        seen |= !piece.is_empty();
        match scanner.push(&piece) {
            Ok(None) => {}
            Ok(Some((Prelude { status, headers }, first))) => {
                return Ok(respond(id, status, headers, outgoing::stream_behind(first, stream, mishap)));
            }
            Err(error) => return Err(unusable(id, &error)),
        }
    }
    match stream.end_rx.await {
        // Nothing at all (HT-33).
        Ok(answer) if matches!(answer.outcome, Outcome::Success(_)) && !seen => {
            Ok(respond(id, StatusCode::OK, HeaderMap::new(), outgoing::whole(Bytes::new())))
        }
        Ok(answer) if matches!(answer.outcome, Outcome::Success(_)) => {
            Err(unusable(id, &InvalidPrelude::Unfinished))
        }
        Ok(answer) => Err(answer.outcome),
        Err(_) => Err(Outcome::Failed(FunctionError::sandbox_failure(id, "the stream was lost"))),
    }
}

/// Whether a result that was collected has a prelude.
pub(super) fn has_prelude(whole: &Whole) -> bool {
    whole.stream.as_ref().is_some_and(|form| is_http(form.content_type.as_ref()))
}

/// The same for a stream that was collected.
pub(super) fn whole(id: RequestId, whole: &Whole) -> Result<Response<Body>, Outcome> {
    match Scanner::default().push(&whole.bytes) {
        Ok(Some((Prelude { status, headers }, body))) => {
            Ok(respond(id, status, headers, outgoing::whole(body)))
        }
        Ok(None) if whole.bytes.is_empty() => {
            Ok(respond(id, StatusCode::OK, HeaderMap::new(), outgoing::whole(Bytes::new())))
        }
        Ok(None) => Err(unusable(id, &InvalidPrelude::Unfinished)),
        Err(error) => Err(unusable(id, &error)),
    }
}

fn is_http(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|value| value == headers::HTTP_INTEGRATION)
}

/// ST-10: a failure of the function.
fn unusable(id: RequestId, error: &InvalidPrelude) -> Outcome {
    Outcome::Failed(FunctionError::invalid_prelude(id, &error.to_string()))
}

fn respond(id: RequestId, status: StatusCode, fields: HeaderMap, body: Body) -> Response<Body> {
    let mut response = answer::with(id, status, headers::OCTET_STREAM, "").map(|_| body);
    if !fields.contains_key(CONTENT_TYPE) && status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    answer::add(response.headers_mut(), fields);
    response
}
