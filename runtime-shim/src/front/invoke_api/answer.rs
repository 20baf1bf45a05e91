//! Answers of the Invoke API (7.2, 7.4, 7.6).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use tm_lambda::invoke::{InvokeError, Operation};
use tm_lambda::{FunctionError, FunctionVersion, RequestId, headers};

use crate::front::answer::with;
use crate::front::outgoing::{self, Body};
use crate::invocation::{Answer, Outcome, ResultBody, Whole};

/// What every answer about an invoke says.
pub(super) struct Head<'a> {
    pub(super) id: RequestId,
    pub(super) trace: HeaderValue,
    pub(super) version: &'a FunctionVersion,
}

const UNHANDLED: HeaderValue = HeaderValue::from_static(headers::UNHANDLED);

/// 200 with the result, or with the error and a header that says so (IN-11, IN-12). What did not reach the function is an
/// error of the API, so that SDKs try again (IN-16).
pub(super) fn whole(head: &Head<'_>, answer: Answer) -> Result<Response<Body>, InvokeError> {
    let Answer { outcome, log } = answer;
    let mut response = match outcome {
        Outcome::Success(ResultBody::Whole(Whole { bytes, stream })) => {
            let content_type = if stream.is_some() { headers::OCTET_STREAM } else { headers::JSON };
            head.with(StatusCode::OK, content_type, bytes)
        }
        Outcome::Success(ResultBody::Stream(stream)) => {
            // Asked for by nobody; still better passed on than lost.
            let head = head.with(StatusCode::OK, headers::OCTET_STREAM, Bytes::new());
            head.map(|_| outgoing::stream(stream, outgoing::Mishap::Shown))
        }
        Outcome::Failed(error) | Outcome::TimedOut(error) | Outcome::Stopped(error) => head.failed(&error),
        Outcome::Expired(_) => return Err(InvokeError::TooManyRequests),
        Outcome::Stopping => return Err(InvokeError::Stopping),
    };
    let fields = response.headers_mut();
    fields.insert(headers::AMZN_REMAPPED_CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some(log) = log {
        let log = HeaderValue::try_from(STANDARD.encode(log)).expect("base64 is visible ASCII");
        fields.insert(headers::AMZ_LOG_RESULT, log);
    }
    Ok(response)
}

/// A timeout as AWS's emulator tells of it: scripts wait for this text (7.7). That the function failed is said, too.
pub(super) fn timed_out_text(head: &Head<'_>, timeout: Duration) -> Response<Body> {
    let text = FunctionError::timed_out_text(timeout);
    let mut response = head.with(StatusCode::OK, headers::TEXT, text.into());
    response.headers_mut().insert(headers::AMZ_FUNCTION_ERROR, UNHANDLED);
    response
}

/// 200 with an event stream (7.6).
pub(super) fn stream(head: &Head<'_>, answer: Answer, strict: bool) -> Result<Response<Body>, InvokeError> {
    let json = HeaderValue::from_static(headers::JSON);
    let (content_type, body) = match answer {
        Answer { outcome: Outcome::Success(ResultBody::Stream(mut stream)), .. } => {
            (stream.content_type.take(), outgoing::frames(stream, strict))
        }
        Answer { outcome: Outcome::Success(ResultBody::Whole(Whole { bytes, stream })), log } => {
            let end = Answer { outcome: Outcome::Success(ResultBody::Whole(Whole::default())), log };
            let content_type = stream.map_or(Some(json), |form| form.content_type);
            (content_type, outgoing::framed(bytes, end, strict))
        }
        Answer { outcome: Outcome::Expired(_), .. } => return Err(InvokeError::TooManyRequests),
        Answer { outcome: Outcome::Stopping, .. } => return Err(InvokeError::Stopping),
        // What the function reported is passed on as its result (IN-27); what the platform noticed comes with the end.
        Answer { outcome: Outcome::Failed(error), log } if error.is_reported() => {
            let (payload, content_type) = (error.payload().clone(), error.content_type());
            let end = Answer { outcome: Outcome::Failed(error), log };
            (Some(HeaderValue::from_static(content_type)), outgoing::framed(payload, end, strict))
        }
        failed => (Some(json), outgoing::framed(Bytes::new(), failed, strict)),
    };
    let mut response = head.with(StatusCode::OK, headers::EVENT_STREAM, Bytes::new()).map(|_| body);
    let content_type = content_type.unwrap_or(HeaderValue::from_static(headers::OCTET_STREAM));
    response.headers_mut().insert(headers::AMZN_REMAPPED_CONTENT_TYPE, content_type);
    Ok(response)
}

/// 202: it will run (IN-14).
pub(super) fn accepted(head: &Head<'_>, operation: Operation) -> Response<Body> {
    let body = if operation == Operation::InvokeAsync { r#"{"Status":202}"# } else { "" };
    head.bare(StatusCode::ACCEPTED, body)
}

/// 204: it would have run (IN-15).
pub(super) fn dry_run(head: &Head<'_>) -> Response<Body> {
    head.bare(StatusCode::NO_CONTENT, "")
}

/// An error of the API itself (IN-19).
pub(super) fn refused(id: RequestId, error: &InvokeError) -> Response<Body> {
    let mut response = with(id, error.status(), headers::JSON, error.body());
    let fields = response.headers_mut();
    fields.insert(headers::AMZN_ERROR_TYPE, HeaderValue::from_static(error.name()));
    if error.is_passing() {
        fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if matches!(error, InvokeError::TooLarge(_)) {
        // Part of the body may be unread.
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

// === impl Head ===

impl Head<'_> {
    fn failed(&self, error: &FunctionError) -> Response<Body> {
        let mut response = self.with(StatusCode::OK, error.content_type(), error.payload().clone());
        response.headers_mut().insert(headers::AMZ_FUNCTION_ERROR, UNHANDLED);
        response
    }

    fn with(&self, status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
        let mut response = with(self.id, status, content_type, body);
        let fields = response.headers_mut();
        let version = HeaderValue::try_from(self.version.as_str()).expect("a version is visible ASCII");
        fields.insert(headers::AMZ_EXECUTED_VERSION, version);
        fields.insert(headers::AMZN_TRACE_ID, self.trace.clone());
        response
    }

    /// Without a type and a version.
    fn bare(&self, status: StatusCode, body: &'static str) -> Response<Body> {
        let mut response = with(self.id, status, headers::JSON, body);
        let fields = response.headers_mut();
        fields.insert(headers::AMZN_TRACE_ID, self.trace.clone());
        if body.is_empty() {
            fields.remove(CONTENT_TYPE);
        }
        response
    }
}
