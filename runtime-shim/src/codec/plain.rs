//! Plain mode (section 8.8): the request's body is the event, the result is the answer's body.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::de::IgnoredAny;
use tm_lambda::{FunctionError, RequestId, headers};

use super::{Arrived, Refusal};
use crate::front::answer;
use crate::front::outgoing::Body;
use crate::invocation::{Context, Event, Outcome, ResultBody};

/// The event and the caller's trace (RT-19).
pub(super) fn event(request: Arrived, arn: HeaderValue) -> (Event, Context) {
    let trace = request.told_trace();
    let Arrived { parts, body, .. } = request;
    (typed(&parts.headers, body), Context { trace, ..Context::of(arn) })
}

/// The body as it is, an empty one too (HT-57).
///
/// JSON is called JSON whatever the sender called it (`curl -d` says it is a form). What is not JSON keeps its type, so
/// that runtimes which look at it hand raw bytes to the function instead of failing on them (RT-23).
fn typed(request: &HeaderMap, body: Bytes) -> Event {
    let content_type = if body.is_empty() || is_json(&body) {
        HeaderValue::from_static(headers::JSON)
    } else {
        other_type(request)
    };
    Event { body, content_type }
}

fn other_type(request: &HeaderMap) -> HeaderValue {
    let given = request.get(CONTENT_TYPE).filter(|value| {
        let text = value.to_str().unwrap_or_default();
        // These would be a lie about bytes that are not JSON.
        !text.is_empty() && !text.starts_with(headers::JSON)
    });
    given.cloned().unwrap_or(HeaderValue::from_static(headers::OCTET_STREAM))
}

/// The answer. The status says how it went, `X-Amz-Function-Error` that the function is to blame.
pub(super) fn answer(id: RequestId, outcome: Outcome) -> Response<Body> {
    match outcome {
        Outcome::Success(ResultBody::Whole(whole)) => {
            let content_type = type_of(&whole.bytes);
            answer::with(id, StatusCode::OK, content_type, whole.bytes)
        }
        // Streams are answered before it comes to this.
        Outcome::Success(ResultBody::Stream(_)) => answer::broken(id),
        Outcome::Failed(error) => blame(failed(id, StatusCode::INTERNAL_SERVER_ERROR, &error)),
        Outcome::TimedOut(error) => blame(failed(id, StatusCode::GATEWAY_TIMEOUT, &error)),
        // The function never saw it.
        Outcome::Expired(error) => failed(id, StatusCode::GATEWAY_TIMEOUT, &error),
        Outcome::Stopping => answer::stopping(id),
        Outcome::Stopped(_) => blame(answer::stopping(id)),
    }
}

/// What the shim says by itself.
pub(super) fn refuse(id: RequestId, refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::TooLarge => answer::too_large(id),
        Refusal::Incomplete => answer::incomplete(id),
        Refusal::TooSlow => answer::too_slow(id),
        Refusal::Full => answer::too_many(id),
        // Nobody here has a time of their own.
        Refusal::NoAnswer => answer::broken(id),
    }
}

fn failed(id: RequestId, status: StatusCode, error: &FunctionError) -> Response<Body> {
    answer::with(id, status, error.content_type(), error.payload().clone())
}

fn blame(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(headers::AMZ_FUNCTION_ERROR, HeaderValue::from_static(headers::UNHANDLED));
    response
}

/// HT-56: JSON when it parses, else text; bytes that are no text are called bytes.
fn type_of(body: &[u8]) -> &'static str {
    if is_json(body) {
        headers::JSON
    } else if std::str::from_utf8(body).is_ok() {
        headers::TEXT
    } else {
        headers::OCTET_STREAM
    }
}

fn is_json(body: &[u8]) -> bool {
    // The parser alone does not look into strings that it skips.
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_type(content_type: Option<&'static str>, body: &'static str) -> String {
        let mut request = HeaderMap::new();
        if let Some(content_type) = content_type {
            request.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let event = typed(&request, Bytes::from(body));
        assert_eq!(event.body, body);
        event.content_type.to_str().unwrap().to_owned()
    }

    #[test]
    fn events_are_json_when_they_are() {
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(event_type(form, r#"{"a":1}"#), "application/json");
        assert_eq!(event_type(None, ""), "application/json");
        assert_eq!(event_type(Some("application/json; charset=utf-8"), "7"), "application/json");
        assert_eq!(event_type(Some("text/plain"), "hello"), "text/plain");
        assert_eq!(event_type(Some("application/json"), "{"), "application/octet-stream");
        assert_eq!(event_type(None, "hello"), "application/octet-stream");
    }

    #[test]
    fn results_are_typed_by_what_they_are() {
        assert_eq!(type_of(b"{\"a\":1}"), "application/json");
        assert_eq!(type_of(b"hello"), "text/plain; charset=utf-8");
        assert_eq!(type_of(b""), "text/plain; charset=utf-8");
        assert_eq!(type_of(b"\xff\xfe"), "application/octet-stream");
        assert_eq!(type_of(b"\"\xff\""), "application/octet-stream");
    }
}
