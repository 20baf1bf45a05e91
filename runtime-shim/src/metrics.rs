//! What is counted, and `GET /metrics` for Prometheus (`METRICS_PROMETHEUS_PORT`).
//!
//! Workers and the queue count as they go; nothing is measured for a scrape but the length of the queue.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tm_serve::{Listener, Options, Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::invocation::Outcome;
use crate::queue::Queue;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    invocations: Family<Label, Counter>,
    duration: Histogram,
    init: Histogram,
    running: Gauge,
    waiting: Gauge,
    memory: Gauge,
    throttled: Counter,
    expired: Counter,
}

/// Counts an invoke as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Gauge);

type Label = [(&'static str, &'static str); 1];

/// aws-custom-runtime's bounds, in seconds.
const BOUNDS: [f64; 12] = [0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("tm_function");
        let invocations = Family::<Label, Counter>::default();
        registry.register("invocations", "Invokes that were started, by how they ended", invocations.clone());
        let histogram = || Histogram::new(BOUNDS);
        let (duration, init) = (histogram(), histogram());
        let help = "From the start of an invoke to the end of its phase";
        registry.register_with_unit("duration", help, Unit::Seconds, duration.clone());
        let help = "From the start of a runtime to its first wait for an event, when it went well";
        registry.register_with_unit("init_duration", help, Unit::Seconds, init.clone());
        let (running, waiting, memory) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("running", "Invokes that run", running.clone());
        registry.register("waiting", "Invokes that wait for a worker", waiting.clone());
        let help = "Most memory that the processes of one worker have used";
        registry.register_with_unit("max_memory", help, Unit::Bytes, memory.clone());
        let (throttled, expired) = (Counter::default(), Counter::default());
        registry.register("throttled", "Requests that a full queue refused", throttled.clone());
        registry.register("expired", "Invokes whose time passed before a worker was free", expired.clone());
        Self { registry, invocations, duration, init, running, waiting, memory, throttled, expired }
    }

    /// An invoke starts.
    pub(crate) fn start(&self) -> Running {
        self.running.inc();
        Running(self.running.clone())
    }

    /// An invoke has an outcome.
    pub(crate) fn outcome(&self, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Success(_) => "success",
            Outcome::Failed(error) if error.is_reported() => "function_error",
            Outcome::Failed(_) => "runtime_error",
            Outcome::TimedOut(_) => "timeout",
            // It was not started; the queue counts it.
            Outcome::Expired(_) => return,
            Outcome::Stopping | Outcome::Stopped(_) => "stopped",
        };
        self.invocations.get_or_create(&[("outcome", word)]).inc();
    }

    /// A phase is over.
    pub(crate) fn phase(&self, duration: Duration, megabytes: u64) {
        self.duration.observe(duration.as_secs_f64());
        let bytes = i64::try_from(megabytes << 20).unwrap_or(i64::MAX);
        if bytes > self.memory.get() {
            self.memory.set(bytes);
        }
    }

    /// An init went well.
    pub(crate) fn init(&self, duration: Duration) {
        self.init.observe(duration.as_secs_f64());
    }

    /// A full queue refused something.
    pub(crate) fn throttled(&self) {
        self.throttled.inc();
    }

    /// Something waited too long.
    pub(crate) fn expired(&self) {
        self.expired.inc();
    }

    fn text(&self, queue: &Queue) -> String {
        self.waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Serves `GET /metrics` on `tasks`, until those end.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    tasks: &Tasks,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let service = move |_: &tm_serve::Peer| {
        let (metrics, queue) = (Arc::clone(&metrics), Arc::clone(&queue));
        service_fn(move |request: Request<Incoming>| {
            let answer = answer(&request, &metrics, &queue);
            async move { Ok::<_, Infallible>(answer) }
        })
    };
    let options = Options::default().drain_timeout(Duration::ZERO);
    let serving = tm_serve::serve(Listener::from(listener), service, options, CancellationToken::new());
    tasks.spawn("metrics", serving);
    Ok(())
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, queue: &Queue) -> Response<Full<Bytes>> {
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let mut response = Response::new(Full::new(metrics.text(queue).into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    response
}
