//! Answers that the shim gives by itself. API errors have AWS's shapes (7.4).

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tm_lambda::{RequestId, headers};

use super::outgoing::{self, Body};

/// An answer with its id and type.
pub(crate) fn with(
    id: RequestId,
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(outgoing::whole(body));
    *response.status_mut() = status;
    let id = HeaderValue::try_from(id.to_string()).expect("a UUID is visible ASCII");
    response.headers_mut().insert(headers::AMZN_REQUEST_ID, id);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Headers of the function's own. What belongs to the connection, the length and the id stay ours (HT-25).
pub(crate) fn add(to: &mut HeaderMap, fields: HeaderMap) {
    let mut last = None;
    for (name, value) in fields {
        // A name is given once, ahead of its values.
        let first = name.is_some();
        last = name.or(last);
        let Some(name) = last.clone().filter(|name| !OURS.contains(name)) else { continue };
        if first && name != SET_COOKIE {
            to.insert(name, value);
        } else {
            to.append(name, value);
        }
    }
}

/// Headers that a function cannot set.
const OURS: [http::HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    TRAILER,
    http::HeaderName::from_static("keep-alive"),
    headers::AMZN_REQUEST_ID,
];

/// 200 for probes. Knative wants its own header's value back.
pub(crate) fn healthy(id: RequestId, request: &HeaderMap) -> Response<Body> {
    let body = request
        .get(headers::K_NETWORK_PROBE)
        .map_or("ok\n".into(), |probe| Bytes::copy_from_slice(probe.as_bytes()));
    with(id, StatusCode::OK, headers::TEXT, body)
}

/// 413, in ACR's words (CE-18). The connection ends, as part of the body may be unread.
pub(crate) fn too_large(id: RequestId) -> Response<Body> {
    let mut response =
        with(id, StatusCode::PAYLOAD_TOO_LARGE, headers::TEXT, "http: request body too large\n");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// 429: the queue is full.
pub(crate) fn too_many(id: RequestId) -> Response<Body> {
    let body = r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#;
    later(api_error(id, StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", body))
}

/// 503: the shim stops.
pub(crate) fn stopping(id: RequestId) -> Response<Body> {
    let body = r#"{"Type":"Service","Message":"the function is being stopped"}"#;
    later(api_error(id, StatusCode::SERVICE_UNAVAILABLE, "ServiceException", body))
}

/// 500: the shim lost the invoke.
pub(crate) fn broken(id: RequestId) -> Response<Body> {
    let body = r#"{"Type":"Service","Message":"the invoke was lost"}"#;
    api_error(id, StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", body)
}

/// 408: the body did not arrive in time.
pub(crate) fn too_slow(id: RequestId) -> Response<Body> {
    let body = r#"{"Type":"User","message":"the request body did not arrive within the function timeout"}"#;
    api_error(id, StatusCode::REQUEST_TIMEOUT, "InvalidRequestContentException", body)
}

/// The content is not what it calls itself.
pub(crate) fn invalid_content(id: RequestId, status: StatusCode, message: &str) -> Response<Body> {
    let body = serde_json::json!({"Type": "User", "message": message}).to_string();
    let mut response = with(id, status, headers::JSON, body);
    let name = HeaderValue::from_static("InvalidRequestContentException");
    response.headers_mut().insert(headers::AMZN_ERROR_TYPE, name);
    response
}

/// 502: the function has run, and its result could not be delivered.
pub(crate) fn undelivered(id: RequestId) -> Response<Body> {
    let body = r#"{"Type":"Service","Message":"the sink did not take the result"}"#;
    api_error(id, StatusCode::BAD_GATEWAY, "ServiceException", body)
}

/// 400: the body broke off. Hardly anybody is left to read it.
pub(crate) fn incomplete(id: RequestId) -> Response<Body> {
    let body = r#"{"Type":"User","message":"the request body is incomplete"}"#;
    api_error(id, StatusCode::BAD_REQUEST, "InvalidRequestContentException", body)
}

fn api_error(id: RequestId, status: StatusCode, name: &'static str, body: &'static str) -> Response<Body> {
    let mut response = with(id, status, headers::JSON, body);
    response.headers_mut().insert(headers::AMZN_ERROR_TYPE, HeaderValue::from_static(name));
    response
}

fn later(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
