//! The function's HTTP listener.
//!
//! * any method and path - the function, in plain mode ([`crate::codec`])
//! * `/_/health`, Knative's and kubelet's probes - 200 once the first init has ended
//! * `/2015-03-31/…`, `/2021-11-15/…`, `/2014-11-13/…` - kept for the Lambda Invoke API; 404 so far
//!
//! Each answer carries `x-amzn-RequestId`. docs/http.md has the table of statuses.

pub(crate) mod answer;
mod route;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use jiff::Timestamp;
use tm_lambda::{Deadline, FunctionError, RequestId, TraceId, headers};
use tm_serve::{Drained, Options};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::{self, BodyError};
use crate::codec::{Body, Codec};
use crate::config::Config;
use crate::invocation::{Context, Delivery, Invocation, Outcome, Responder};
use crate::queue::Queue;
use route::Route;

/// What the front needs to know.
#[derive(Debug)]
pub(crate) struct Front {
    config: Arc<Config>,
    queue: Arc<Queue>,
    arn: HeaderValue,
}

/// When an invoke came, on both clocks, and until when it may run.
struct Arrival {
    deadline: Deadline,
    expires: Instant,
}

/// What is read of a body that was refused: enough for the client to see the answer instead of a reset.
const DISCARD: usize = 64 * 1024 * 1024;

/// Serves on `listener` until `stop`, then drains.
pub(crate) async fn serve(front: Arc<Front>, listener: TcpListener, stop: CancellationToken) -> Drained {
    let options = Options::default().drain_timeout(front.config.drain_timeout);
    let service = move |_: &tm_serve::Peer| {
        let front = Arc::clone(&front);
        service_fn(move |request| handle(Arc::clone(&front), request))
    };
    tm_serve::serve(tm_serve::Listener::from(listener), service, options, stop).await
}

async fn handle(front: Arc<Front>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let id = RequestId::mint();
    let (parts, body) = request.into_parts();
    Ok(match Route::of(&parts) {
        Route::Function(codec) => front.invoke(id, codec, parts, body).await,
        Route::Health => answer::healthy(id, &parts.headers),
        Route::InvokeApi => front.refuse(answer::invoke_api(id), body).await,
    })
}

// === impl Front ===

impl Front {
    pub(crate) fn new(config: Arc<Config>, queue: Arc<Queue>) -> Self {
        let arn = HeaderValue::try_from(config.function.arn.to_string())
            .expect("region, account and name were read as letters, digits and hyphens");
        Self { config, queue, arn }
    }

    /// Reads the event, queues it and waits for the outcome. A caller that leaves while it waits cancels nothing.
    async fn invoke(&self, id: RequestId, codec: Codec, parts: Parts, body: Incoming) -> Response<Body> {
        let arrival = self.arrival();
        let read =
            tokio::time::timeout_at(arrival.expires, body::read(body, self.config.front.max_event_bytes));
        let bytes = match read.await {
            Ok(Ok(whole)) => whole.bytes,
            Ok(Err(BodyError::TooLarge(rest))) => {
                // Who asked before sending has not sent, and now will not.
                if !parts.headers.contains_key(EXPECT) {
                    let _ = tokio::time::timeout_at(arrival.expires, body::discard(rest, DISCARD)).await;
                }
                return answer::too_large(id);
            }
            Ok(Err(BodyError::Broken(_))) => return answer::incomplete(id),
            Err(_) => return answer::too_slow(id),
        };
        let (responder, outcome) = Responder::new();
        let context = Context { arn: self.arn.clone(), trace: trace(&parts) };
        let event = codec.event(&parts, bytes);
        let Arrival { deadline, expires } = arrival;
        let delivery = Delivery { id, deadline, event, context };
        if self.queue.push(Invocation { delivery, expires, responder }).is_err() {
            return answer::too_many(id);
        }
        match wait(outcome, expires, id, self.config.function_timeout).await {
            Some(outcome) => codec.answer(id, outcome),
            None => answer::broken(id),
        }
    }

    /// Reads a body that nobody wants, so that its sender reads the answer.
    async fn refuse(&self, answer: Response<Body>, body: Incoming) -> Response<Body> {
        let _ = tokio::time::timeout_at(self.arrival().expires, body::discard(body, DISCARD)).await;
        answer
    }

    fn arrival(&self) -> Arrival {
        let timeout = self.config.function_timeout;
        Arrival { deadline: Deadline::after(Timestamp::now(), timeout), expires: Instant::now() + timeout }
    }
}

/// The outcome; `None` when the shim lost the invoke.
async fn wait(
    outcome: oneshot::Receiver<Outcome>,
    expires: Instant,
    id: RequestId,
    timeout: Duration,
) -> Option<Outcome> {
    match tokio::time::timeout_at(expires + ANSWER_GRACE, outcome).await {
        Ok(outcome) => outcome.ok(),
        // Nobody took it from the queue.
        Err(_) => Some(Outcome::Expired(FunctionError::timed_out(id, timeout))),
    }
}

/// A worker whose process runs into the deadline answers at the deadline; this is how long it may take to say so.
const ANSWER_GRACE: Duration = Duration::from_millis(250);

/// The caller's trace, made fit for the runtime (RT-19).
fn trace(parts: &Parts) -> Option<HeaderValue> {
    let header = parts.headers.get(headers::AMZN_TRACE_ID)?.to_str().ok()?;
    HeaderValue::try_from(TraceId::adopt(header)?.to_string()).ok()
}
