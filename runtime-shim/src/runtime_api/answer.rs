//! Answers of the Runtime API. All of them are whole, so hyper writes their `Content-Length` (RT-07).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tm_lambda::api_error::{ACCEPTED, ApiError};
use tm_lambda::headers;

use crate::invocation::{Context, Delivery, Event, More};

/// The body of every answer.
pub(crate) type Body = Full<Bytes>;

const JSON: HeaderValue = HeaderValue::from_static(headers::JSON);
const TEXT: HeaderValue = HeaderValue::from_static(headers::TEXT);

/// 200 with an event (section 1.3). What is empty is left out (12.13).
pub(crate) fn event(delivery: Delivery) -> Response<Body> {
    let Delivery { id, deadline, event: Event { body, content_type }, context } = delivery;
    let Context { arn, trace, more } = context;
    let mut response = Response::new(Full::new(body));
    let id = HeaderValue::try_from(id.to_string()).expect("a UUID is visible ASCII");
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, content_type);
    fields.insert(headers::RUNTIME_REQUEST_ID, id);
    fields.insert(headers::RUNTIME_DEADLINE_MS, deadline.unix_millis().into());
    fields.insert(headers::RUNTIME_INVOKED_FUNCTION_ARN, arn);
    if let Some(trace) = trace {
        fields.insert(headers::RUNTIME_TRACE_ID, trace);
    }
    if let Some(more) = more {
        let More { client, tenant, cloud_event } = *more;
        for (name, value) in [
            (headers::RUNTIME_CLIENT_CONTEXT, client),
            (headers::RUNTIME_TENANT_ID, tenant),
            (headers::RUNTIME_CLOUDEVENTS_CONTEXT, cloud_event),
        ] {
            if let Some(value) = value {
                fields.insert(name, value);
            }
        }
    }
    response
}

/// 202 (RT-14).
pub(crate) fn accepted() -> Response<Body> {
    with(StatusCode::ACCEPTED, JSON, ACCEPTED)
}

/// The legacy liveness answer.
pub(crate) fn pong() -> Response<Body> {
    with(StatusCode::OK, TEXT, "pong")
}

/// RT-40.
pub(crate) fn refused(error: &ApiError) -> Response<Body> {
    with(error.status(), JSON, error.body())
}

/// RT-13.
pub(crate) fn not_found() -> Response<Body> {
    with(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")
}

/// RT-13.
pub(crate) fn wrong_method() -> Response<Body> {
    with(StatusCode::METHOD_NOT_ALLOWED, TEXT, "")
}

/// JSON with a status.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    with(status, JSON, body)
}

fn with(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
