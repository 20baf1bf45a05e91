//! The POSTs of a runtime: results, errors, init errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use tm_lambda::api_error::ApiError;
use tm_lambda::limits::MAX_RESULT_BYTES;
use tm_lambda::{FunctionError, RequestId, headers};

use super::answer::{self, Body};
use super::link::{CallKind, Link, Offer, Upload, Uploaded};
use super::stream;
use crate::body::{self, BodyError, Whole};
use crate::invocation;

/// What is read of a refused body. Bounded in time by the worker, which ends the process, and with it the connection, at
/// the deadline.
pub(super) const DISCARD: usize = 256 * 1024 * 1024;

pub(super) type Answer = Result<Response<Body>, ApiError>;

/// `POST …/invocation/{id}/response`. The worker hears of it before the body is read: from then on the runtime is
/// sending, and an upload that breaks off is an answer too (RT-31).
pub(crate) async fn response(
    link: &Link,
    id: Option<RequestId>,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    let (stream, known) = (stream::form(headers, &body), known_mode(headers));
    // A caller who takes streams gets nothing in a mode that does not exist.
    let (offer, data_tx) = stream.as_deref().filter(|_| known).map(stream::offer).unzip();
    let (upload, body) = begin(link, id, CallKind::Response, offer, body).await?;
    if !known {
        upload.finish(Uploaded::InvalidMode);
        body::discard(body, DISCARD).await;
        return Err(ApiError::InvalidResponseMode);
    }
    if let Some(data_tx) = data_tx.filter(|_| upload.streams) {
        return Box::pin(stream::forward(upload, data_tx, body)).await;
    }
    let (upload, Whole { bytes, trailers }) = read(upload, body).await?;
    let result = invocation::Whole { bytes, stream };
    upload.finish(Uploaded::Result(result, trailers.as_ref().and_then(error_of).map(Box::new)));
    Ok(answer::accepted())
}

/// `POST …/invocation/{id}/error`.
pub(crate) async fn error(link: &Link, id: Option<RequestId>, headers: &HeaderMap, body: Incoming) -> Answer {
    let (upload, body) = begin(link, id, CallKind::Error, None, body).await?;
    let (upload, Whole { bytes, .. }) = read(upload, body).await?;
    upload.finish(Uploaded::Error(reported(headers, bytes)));
    Ok(answer::accepted())
}

/// `POST …/init/error`. As with answers the worker hears of it before the body is read, so that there is only one.
pub(crate) async fn init_error(link: &Link, headers: &HeaderMap, body: Incoming) -> Answer {
    let (upload, body) = allowed(link.begin_init_error().await, body).await?;
    let (upload, Whole { bytes, .. }) = read(upload, body).await?;
    upload.finish(Uploaded::Error(reported(headers, bytes)));
    Ok(answer::accepted())
}

/// Asks for the right to answer.
async fn begin(
    link: &Link,
    id: Option<RequestId>,
    kind: CallKind,
    offer: Option<Offer>,
    body: Incoming,
) -> Result<(Upload, Incoming), ApiError> {
    allowed(link.begin(id, kind, offer).await, body).await
}

/// A refusal reads the body first: an unread one would cost the client its connection.
async fn allowed(upload: Result<Upload, ApiError>, body: Incoming) -> Result<(Upload, Incoming), ApiError> {
    match upload {
        Ok(upload) => Ok((upload, body)),
        Err(error) => {
            body::discard(body, DISCARD).await;
            Err(error)
        }
    }
}

/// Reads the body. The worker learns of a failure first; then the rest is read, so that the client can read the 413.
async fn read(upload: Upload, body: Incoming) -> Result<(Upload, Whole), ApiError> {
    match body::read(body, MAX_RESULT_BYTES).await {
        Ok(whole) => Ok((upload, whole)),
        Err(BodyError::Broken(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the runtime's upload broke off");
            upload.finish(Uploaded::Truncated);
            Err(ApiError::Truncated)
        }
        Err(BodyError::TooLarge(rest)) => {
            upload.finish(Uploaded::TooLarge(MAX_RESULT_BYTES));
            body::discard(rest, DISCARD).await;
            Err(ApiError::TooLarge(MAX_RESULT_BYTES))
        }
    }
}

/// RT-27: absent or `streaming`.
fn known_mode(headers: &HeaderMap) -> bool {
    headers.get(headers::RUNTIME_RESPONSE_MODE).is_none_or(|mode| mode == headers::STREAMING)
}

fn reported(headers: &HeaderMap, body: Bytes) -> FunctionError {
    let error_type = text(headers, &headers::RUNTIME_ERROR_TYPE);
    match text(headers, &CONTENT_TYPE) {
        Some(headers::ERROR_WITH_CAUSE) => FunctionError::reported_with_cause(error_type, &body),
        _ => FunctionError::reported(error_type, body),
    }
}

/// ST-15: an error that a runtime reports in the trailers of its result, with or without the streaming header. Go
/// declares the trailers on every POST and fills them on failure only.
pub(super) fn error_of(trailers: &HeaderMap) -> Option<FunctionError> {
    let error_type = text(trailers, &headers::RUNTIME_ERROR_TYPE).filter(|value| !value.is_empty());
    let body = text(trailers, &headers::RUNTIME_ERROR_BODY).filter(|value| !value.is_empty());
    if error_type.is_none() && body.is_none() {
        return None;
    }
    let body = body.and_then(|encoded| STANDARD.decode(encoded).ok()).unwrap_or_default();
    Some(FunctionError::reported(error_type, body.into()))
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
