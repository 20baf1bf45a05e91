//! The Lambda Invoke API, as SDKs and the aws CLI call it (section 7).
//!
//! * `POST /2015-03-31/functions/{name}/invocations` - 200 with the result; 202 for `Event`; 204 for `DryRun`
//! * `POST /2021-11-15/functions/{name}/response-streaming-invocations` - 200 with an event stream
//! * `POST /2014-11-13/functions/{name}/invoke-async` - 202, like `Event`
//!
//! Signatures are not looked at (IN-09): who may call is the business of whatever stands in front. Events wait in the same
//! bounded queue as everybody else, in memory: what has not run when the shim stops is lost, and nothing is tried twice.

mod answer;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};
use hyper::body::{Body as _, Incoming};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use tm_lambda::invoke::{self, InvocationType, InvokeError, LogType, Operation, Target};
use tm_lambda::{RequestId, TraceId, headers};

use super::outgoing::Body;
use super::{Call, Front, Unread};
use crate::config::InvokeApi;
use crate::invocation::{Context, Event, More, Outcome, Wishes};
use crate::queue::Full;
use answer::Head;

/// What a caller wants, as far as the head of its request says.
struct Order {
    operation: Operation,
    invocation_type: InvocationType,
    wishes: Wishes,
    context: Context,
}

/// Answers one request under the API's paths.
pub(super) async fn handle(front: &Front, id: RequestId, parts: &Parts, body: Incoming) -> Response<Body> {
    let trace = trace(parts);
    let head = Head { id, trace: trace.clone(), version: &front.config.function.version };
    let order = match order(front, parts, &body, trace) {
        Ok(order) => order,
        Err(error) => {
            front.discard(body, parts).await;
            return answer::refused(id, &error);
        }
    };
    run(front, &head, order, parts, body).await.unwrap_or_else(|error| answer::refused(id, &error))
}

/// Reads the head of the request (IN-10: the size first).
fn order(front: &Front, parts: &Parts, body: &Incoming, trace: HeaderValue) -> Result<Order, InvokeError> {
    let (operation, name) = Operation::of(&parts.method, parts.uri.path())?;
    let invocation_type = match operation {
        Operation::Invoke => InvocationType::parse(text(parts, &headers::AMZ_INVOCATION_TYPE))?,
        // IN-24: whatever it says.
        Operation::InvokeWithResponseStream => InvocationType::RequestResponse,
        Operation::InvokeAsync => InvocationType::Event,
    };
    let limit = operation.max_event_bytes(invocation_type);
    if body.size_hint().lower() > limit as u64 {
        return Err(InvokeError::TooLarge(limit));
    }
    let target = Target::parse(&name, qualifier(parts).as_deref())?;
    let log = LogType::parse(text(parts, &headers::AMZ_LOG_TYPE))? == LogType::Tail;
    let function = &front.config.function;
    target.check(&function.arn, front.config.front.invoke_api == InvokeApi::AnyName)?;
    let asynchronous = invocation_type == InvocationType::Event;
    let client = text(parts, &headers::AMZ_CLIENT_CONTEXT).filter(|text| !text.is_empty() && !asynchronous);
    let tenant = text(parts, &headers::AMZ_TENANT_ID).map(invoke::tenant_id).transpose()?;
    let arn = match target.qualifier() {
        Some(qualifier) => value(&format!("{}:{qualifier}", function.arn)),
        None => front.arn.clone(),
    };
    let client = client.map(invoke::client_context).transpose()?.map(|json| value(&json));
    let told = client.is_some() || tenant.is_some();
    let more = told.then(|| Box::new(More { client, tenant: tenant.map(value), cloud_event: None }));
    let context = Context { trace: Some(trace), more, ..Context::of(arn) };
    let stream = operation == Operation::InvokeWithResponseStream;
    Ok(Order { operation, invocation_type, wishes: Wishes { stream, log: log && !asynchronous }, context })
}

/// Reads the event and does what was ordered.
async fn run(
    front: &Front,
    head: &Head<'_>,
    order: Order,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, InvokeError> {
    let Order { operation, invocation_type, wishes, context } = order;
    let arrival = front.arrival();
    let limit = operation.max_event_bytes(invocation_type);
    let bytes = front.read(body, parts, limit, &arrival).await.map_err(|unread| match unread {
        Unread::TooLarge => InvokeError::TooLarge(limit),
        Unread::Broken => InvokeError::Unreadable("it is incomplete"),
        Unread::TooSlow => InvokeError::Unreadable("it did not arrive within the function timeout"),
    })?;
    if invocation_type == InvocationType::DryRun {
        return Ok(answer::dry_run(head));
    }
    let call = Call { id: head.id, arrival, event: event(bytes)?, context, wishes };
    if invocation_type == InvocationType::Event {
        front.call_later(call)?;
        return Ok(answer::accepted(head, operation));
    }
    let answer = front.call(call).await?;
    match operation {
        Operation::InvokeWithResponseStream => answer::stream(head, answer, front.config.strict),
        _ => match answer.outcome {
            Outcome::TimedOut(_) if front.config.compat.is_emulator() => {
                Ok(answer::timed_out_text(head, front.config.function_timeout))
            }
            _ => answer::whole(head, answer),
        },
    }
}

/// Any JSON, byte for byte; nothing at all is an empty object (IN-08).
fn event(bytes: Bytes) -> Result<Event, InvokeError> {
    let body = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
    let text = std::str::from_utf8(&body).map_err(|error| InvokeError::NotJson(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| InvokeError::NotJson(error.to_string()))?;
    Ok(Event { body, content_type: HeaderValue::from_static(headers::JSON) })
}

/// `Qualifier` of the query, decoded.
fn qualifier(parts: &Parts) -> Option<String> {
    let pairs = parts.uri.query()?.split('&');
    let (_, value) = pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "Qualifier")?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// The caller's trace, or a new one: AWS always has one (IN-07).
fn trace(parts: &Parts) -> HeaderValue {
    let seconds = u32::try_from(Timestamp::now().as_second()).unwrap_or_default();
    value(&TraceId::of(&parts.headers).unwrap_or_else(|| TraceId::mint(seconds)).to_string())
}

fn text<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("what was parsed is visible ASCII")
}

// === impl InvokeError ===

impl From<Full> for InvokeError {
    fn from(Full: Full) -> Self {
        Self::TooManyRequests
    }
}
