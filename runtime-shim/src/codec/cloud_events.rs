//! CloudEvents (section 9); the words are in [`tm_lambda::cloud_event`].
//!
//! Failures are not events: they are what plain mode makes of them, so that eventing tries again or keeps the event (CE-07).

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use tm_lambda::cloud_event::{self, BadEvent, CloudEvent, Received, Replies};
use tm_lambda::{FunctionError, RequestId, headers};

use super::{Arrived, Work, plain};
use crate::front::answer;
use crate::front::outgoing::Body;
use crate::invocation::{Context, Event, More, Outcome, ResultBody};

/// The event, or events, of a request. What is no CloudEvent is an event as in plain mode (CE-09, CE-10).
pub(super) fn work(request: Arrived, arn: HeaderValue) -> Work {
    match cloud_event::receive(&request.parts.headers, &request.body) {
        Ok(Received::One(event)) => {
            let (event, context) = invoke(event, &arn, request.told_trace());
            Work::One(event, context)
        }
        Ok(Received::Batch(events)) => {
            let trace = request.told_trace();
            Work::Several(events.into_iter().map(|event| invoke(event, &arn, trace.clone())).collect())
        }
        Ok(Received::Other { json }) => {
            let (event, context) = plain::event(request, arn);
            let more = json.then(|| contexts(&CloudEvent::default()));
            Work::One(event, Context { more, ..context })
        }
        Err(error) => Work::Refused(refused(request.id, &error)),
    }
}

fn invoke(event: CloudEvent, arn: &HeaderValue, trace: Option<HeaderValue>) -> (Event, Context) {
    let more = Some(contexts(&event));
    let json = HeaderValue::from_static(headers::JSON);
    let context = Context { trace, more, ..Context::of(arn.clone()) };
    (Event { body: event.data, content_type: json }, context)
}

fn contexts(event: &CloudEvent) -> Box<More> {
    let (client, cloud_event) = event.contexts();
    let value = |text: String| HeaderValue::try_from(text).ok();
    Box::new(More { client: value(client), cloud_event: value(cloud_event), tenant: None })
}

/// CE-12 to CE-16.
pub(super) fn answer(id: RequestId, outcome: Outcome, replies: &Replies) -> Response<Body> {
    let Outcome::Success(ResultBody::Whole(whole)) = outcome else { return plain::answer(id, outcome) };
    match replies.reply(&whole.bytes, Timestamp::now()) {
        Ok(Some(event)) => answer::with(id, StatusCode::OK, cloud_event::STRUCTURED, event),
        Ok(None) => empty(id, StatusCode::OK),
        // CE-23: with a status that eventing takes for what it is.
        Err(error) => {
            plain::answer(id, Outcome::Failed(FunctionError::invalid_reply(id, &error.to_string())))
        }
    }
}

/// An answer without a body, and so without a type: no reply, to eventing.
pub(crate) fn empty(id: RequestId, status: StatusCode) -> Response<Body> {
    let mut response = answer::with(id, status, headers::JSON, "");
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// CE-19: nothing that trying again would help.
fn refused(id: RequestId, error: &BadEvent) -> Response<Body> {
    let status = match error {
        BadEvent::Format(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::BAD_REQUEST,
    };
    answer::invalid_content(id, status, &error.to_string())
}
