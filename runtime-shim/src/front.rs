//! The function's HTTP listener.
//!
//! * any method and path - the function, in the configured form ([`crate::codec`])
//! * `/_/health`, Knative's and kubelet's probes - 200 once the first init has ended
//! * `/2015-03-31/…`, `/2021-11-15/…`, `/2014-11-13/…` - the Lambda Invoke API ([`invoke_api`])
//!
//! Each answer carries `x-amzn-RequestId`. docs/http.md has the table of statuses.

pub(crate) mod answer;
mod cors;
mod custom_runtime;
mod invoke_api;
pub(crate) mod outgoing;
mod route;
mod sink;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use jiff::Timestamp;
use tm_lambda::limits::MAX_EVENT_AGE;
use tm_lambda::{Deadline, FunctionError, RequestId, TraceId, headers};
use tm_serve::{Drained, Options, Peer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::{self, BodyError};
use crate::codec::{Arrived, Codec, Refusal, Work, cloud_events};
use crate::config::{Compat, Config};
use crate::invocation::{Answer, Context, Delivery, Event, Invocation, Outcome, Responder, Wishes};
use crate::queue::{Full, Queue};
use outgoing::Body;
use route::Route;

/// What the front needs to know.
#[derive(Debug)]
pub(crate) struct Front {
    config: Arc<Config>,
    queue: Arc<Queue>,
    codec: Codec,
    arn: HeaderValue,
}

/// When an invoke came, on both clocks, and until when it may run.
struct Arrival {
    time: Timestamp,
    deadline: Deadline,
    expires: Instant,
}

/// What is read of a body that was refused: enough for the client to see the answer instead of a reset.
const DISCARD: usize = 64 * 1024 * 1024;

/// How long a caller may read nothing of an answer that waits for it; its connection is one of a limited number.
const WRITE_STALL: Duration = Duration::from_secs(120);

/// Serves on `listener` until `stop`, then drains.
pub(crate) async fn serve(front: Arc<Front>, listener: TcpListener, stop: CancellationToken) -> Drained {
    let options = options().drain_timeout(front.config.drain_timeout);
    let service = move |peer: &Peer| {
        let (front, peer) = (Arc::clone(&front), *peer);
        service_fn(move |request| handle(Arc::clone(&front), peer, request))
    };
    tm_serve::serve(tm_serve::Listener::from(listener), service, options, stop).await
}

/// Serves one connection, wherever it comes from.
pub(crate) async fn connection(front: Arc<Front>, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(move |request| handle(Arc::clone(&front), Peer::Unix, request));
    tm_serve::connection(io, service, options().http1, CancellationToken::new()).await;
}

/// Callers are anybody: neither a head nor an answer may take for ever. One that sends nothing more after its request still
/// reads, and what was asked for runs however it leaves.
fn options() -> Options {
    let mut options = Options::default();
    options.http1.half_close = true;
    options.http1.write_stall_timeout = Some(WRITE_STALL);
    options
}

async fn handle(
    front: Arc<Front>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let id = RequestId::mint();
    let (parts, body) = request.into_parts();
    Ok(match Route::of(&parts, &front.config.front) {
        Route::Function => {
            let arrival = front.arrival();
            let trace = front.codec.trace(&parts.headers, arrival.time);
            front.function(Asked { id, peer, parts, body, arrival, trace }).await
        }
        Route::Health => answer::healthy(id, &parts.headers),
        Route::Nothing => answer::with(id, StatusCode::NOT_FOUND, headers::TEXT, "404 page not found\n"),
        // Apart, as the futures of the rarer ways would make everybody's larger, and those are moved.
        Route::InvokeApi => Box::pin(invoke_api::handle(&front, id, &parts, body)).await,
    })
}

/// A request for the function, whose body has yet to be read.
struct Asked {
    id: RequestId,
    peer: Peer,
    parts: Parts,
    body: Incoming,
    arrival: Arrival,
    trace: Option<TraceId>,
}

/// An invoke that is ready to be queued.
struct Call {
    id: RequestId,
    arrival: Arrival,
    event: Event,
    context: Context,
    wishes: Wishes,
}

/// Why there is no event.
enum Unread {
    TooLarge,
    Broken,
    TooSlow,
}

// === impl Front ===

impl Front {
    pub(crate) fn new(config: Arc<Config>, queue: Arc<Queue>) -> Self {
        let arn = HeaderValue::try_from(config.function.arn.to_string())
            .expect("region, account and name were read as letters, digits and hyphens");
        Self { codec: Codec::new(&config), config, queue, arn }
    }

    /// Answers a request for the function. Whatever comes of it, the answer tells of the trace (HT-25).
    async fn function(&self, asked: Asked) -> Response<Body> {
        let said = self.codec.said_trace(asked.trace.as_ref());
        let mut response = match &self.config.front.cors {
            None => self.invoke(asked).await,
            Some(cors) => Box::pin(cors::handle(self, cors, asked)).await,
        };
        if let Some(trace) = said {
            response.headers_mut().insert(headers::AMZN_TRACE_ID, trace);
        }
        response
    }

    /// Calls the function in the configured form.
    async fn invoke(&self, asked: Asked) -> Response<Body> {
        let Asked { id, peer, parts, body, arrival, trace } = asked;
        let codec = &self.codec;
        let limit = self.config.front.max_event_bytes.min(codec.max_body_bytes());
        let body = match self.read(body, &parts, limit, &arrival).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return codec.refuse(id, Refusal::TooLarge),
            Err(Unread::Broken) => return codec.refuse(id, Refusal::Incomplete),
            Err(Unread::TooSlow) => return codec.refuse(id, Refusal::TooSlow),
        };
        let traces = codec.sink(&self.config.front).map(|_| Box::new(sink::traces(&parts.headers)));
        let request = Arrived { id, parts, body, time: arrival.time, peer, trace };
        match codec.work(request, self.arn.clone()) {
            Work::One(event, context) => self.one(id, arrival, event, context, traces).await,
            Work::Several(events) => Box::pin(self.several(id, events, traces)).await,
            Work::Refused(response) => response,
        }
    }

    /// One invoke and its answer.
    async fn one(
        &self,
        id: RequestId,
        arrival: Arrival,
        event: Event,
        context: Context,
        traces: Option<Box<HeaderMap>>,
    ) -> Response<Body> {
        let codec = &self.codec;
        let wishes = Wishes { stream: codec.streams(&self.config.front), log: false };
        let call = self.call(Call { id, arrival, event, context, wishes });
        let answer = match self.config.front.api_timeout {
            None => Some(call.await),
            // LM-26: the function goes on.
            Some(limit) => Box::pin(tokio::time::timeout(limit, call)).await.ok(),
        };
        let response = match answer {
            Some(Ok(answer)) => {
                let response = codec.answer(id, answer.outcome, self.config.strict).await;
                match self.config.compat {
                    Compat::CustomRuntime => custom_runtime::answer(response, self.config.front.format),
                    _ => response,
                }
            }
            Some(Err(Full)) => codec.refuse(id, Refusal::Full),
            None => codec.refuse(id, Refusal::NoAnswer),
        };
        if let Some(sink) = codec.sink(&self.config.front).filter(|_| response.status() == StatusCode::OK) {
            return Box::pin(sink::deliver(sink, id, response, traces.unwrap_or_default())).await;
        }
        response
    }

    /// The events of a batch, each an invoke with an id and a time of its own. Accepted when all went well, else the first
    /// failure (CE-05).
    async fn several(
        &self,
        id: RequestId,
        events: Vec<(Event, Context)>,
        traces: Option<Box<HeaderMap>>,
    ) -> Response<Body> {
        let mut failure = None;
        for (event, context) in events {
            let response = self.one(RequestId::mint(), self.arrival(), event, context, traces.clone()).await;
            if !response.status().is_success() {
                failure.get_or_insert(response);
            }
        }
        failure.unwrap_or_else(|| cloud_events::empty(id, StatusCode::ACCEPTED))
    }

    /// Reads an event of at most `limit` bytes, before the deadline.
    async fn read(
        &self,
        body: Incoming,
        parts: &Parts,
        limit: usize,
        arrival: &Arrival,
    ) -> Result<Bytes, Unread> {
        match tokio::time::timeout_at(arrival.expires, body::read(body, limit)).await {
            Ok(Ok(whole)) => Ok(whole.bytes),
            Ok(Err(BodyError::TooLarge(rest))) => {
                Box::pin(self.discard(rest, parts)).await;
                Err(Unread::TooLarge)
            }
            Ok(Err(BodyError::Broken(_))) => Err(Unread::Broken),
            Err(_) => Err(Unread::TooSlow),
        }
    }

    /// Reads a body that nobody wants, so that its sender reads the answer and not a reset.
    async fn discard(&self, body: Incoming, parts: &Parts) {
        // Who asked before sending has not sent, and now will not.
        if !parts.headers.contains_key(EXPECT) {
            let _ = tokio::time::timeout_at(self.arrival().expires, body::discard(body, DISCARD)).await;
        }
    }

    /// Queues an invoke and waits for its answer. A caller that leaves while it waits cancels nothing.
    async fn call(&self, call: Call) -> Result<Answer, Full> {
        let Call { id, arrival: Arrival { deadline, expires, .. }, event, context, wishes } = call;
        let (responder, mut answer_rx) = Responder::new(wishes);
        let delivery = Delivery { id, deadline, event, context };
        let invocation = Invocation { delivery, expires, responder, asynchronous: false };
        self.queue.push(invocation)?;
        let grace = if wishes.log { LOG_GRACE } else { ANSWER_GRACE };
        match tokio::time::timeout_at(expires + grace, &mut answer_rx).await {
            Ok(Ok(answer)) => Ok(answer),
            // The queue answers for all that it has, so a worker had it and broke: it may have run.
            Ok(Err(_)) => {
                let error = FunctionError::sandbox_failure(id, "the invoke was lost");
                Ok(Answer { outcome: Outcome::Failed(error), log: None })
            }
            Err(_) => {
                let error = FunctionError::timed_out(id, self.config.function_timeout);
                // IN-16: what a worker has taken may have run, and is not to be tried again by itself.
                let waits = self.queue.withdraw(id);
                let outcome = if waits { Outcome::Expired(error) } else { Outcome::TimedOut(error) };
                Ok(Answer { outcome, log: None })
            }
        }
    }

    /// Queues an invoke that nobody waits for.
    fn call_later(&self, call: Call) -> Result<(), Full> {
        let Call { id, arrival, event, context, wishes } = call;
        let (responder, _) = Responder::new(wishes);
        let delivery = Delivery { id, deadline: arrival.deadline, event, context };
        let expires = Instant::now() + MAX_EVENT_AGE;
        let invocation = Invocation { delivery, expires, responder, asynchronous: true };
        self.queue.push(invocation)
    }

    fn arrival(&self) -> Arrival {
        let timeout = self.config.function_timeout;
        let time = Timestamp::now();
        Arrival { time, deadline: Deadline::after(time, timeout), expires: Instant::now() + timeout }
    }
}

/// A worker whose process runs into the deadline answers at the deadline; this is how long it may take to say so.
const ANSWER_GRACE: Duration = Duration::from_millis(250);

/// The same where the log is waited for as well: the process is ended and its last output read first.
const LOG_GRACE: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn front() -> Front {
        let config = Config::read(std::iter::empty(), Vec::new()).unwrap();
        let queue = Queue::new(1, config.function_timeout, Arc::new(Metrics::new()));
        Front::new(Arc::new(config), Arc::new(queue))
    }

    fn call(front: &Front, log: bool) -> Call {
        let json = HeaderValue::from_static(headers::JSON);
        Call {
            id: RequestId::mint(),
            arrival: front.arrival(),
            event: Event { body: Bytes::new(), content_type: json.clone() },
            context: Context::of(json),
            wishes: Wishes { stream: false, log },
        }
    }

    /// Nobody holds a connection with half a head, or with silence between two requests.
    #[tokio::test(start_paused = true)]
    async fn slow_heads_and_idle_connections_are_cut_off() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let front = Arc::new(front());
        for sent in
            ["", "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", "GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n"]
        {
            let (mut client, server) = tokio::io::duplex(64 * 1024);
            tokio::spawn(connection(Arc::clone(&front), server));
            client.write_all(sent.as_bytes()).await.unwrap();
            let (began, mut answer) = (Instant::now(), String::new());
            client.read_to_string(&mut answer).await.unwrap();
            let waited = began.elapsed().as_secs();
            assert!((90..=120).contains(&waited), "{waited} s for {sent:?}: {answer}");
            assert_eq!(answer.contains(" 200 OK"), sent.starts_with("GET"), "{answer}");
        }
    }

    /// SDKs try the one again, and not the other.
    #[tokio::test(start_paused = true)]
    async fn in_16_what_a_worker_has_is_not_said_to_have_never_started() {
        let front = front();
        for log in [false, true] {
            let untaken = front.call(call(&front, log)).await.ok().map(|answer| answer.outcome);
            assert!(matches!(untaken, Some(Outcome::Expired(_))), "{untaken:?}");
            assert_eq!(front.queue.len(), 0, "it is not kept for a worker that comes later");
            let (taken, invocation) = tokio::join!(front.call(call(&front, log)), front.queue.pop());
            let taken = taken.ok().map(|answer| answer.outcome);
            assert!(matches!(taken, Some(Outcome::TimedOut(_))), "{taken:?}");
            drop(invocation);
        }
    }

    #[tokio::test]
    async fn in_16_what_a_worker_has_lost_is_a_failure_of_the_function() {
        let front = front();
        let lost = async { drop(front.queue.pop().await) };
        let (answer, ()) = tokio::join!(front.call(call(&front, false)), lost);
        let outcome = answer.ok().map(|answer| answer.outcome);
        assert!(
            matches!(&outcome, Some(Outcome::Failed(error)) if error.error_type() == "Sandbox.Failure"),
            "{outcome:?}"
        );
    }
}
