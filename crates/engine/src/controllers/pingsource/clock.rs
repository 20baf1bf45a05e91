//! The schedules that run: a task for each source, and the events on their way.
//!
//! What was missed while the engine was down, or the machine asleep, is not made up for: Eventing does not either.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use tm_resources::sources::PingSource;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{event::Template, post::Post};
use crate::{
    events::{Recorder, Teller},
    schedule::Schedule,
};

/// Who tells of events that were lost.
const TELLER: Teller = Teller::Eventing("pingsource-mt-adapter");
/// Events of one source that may be on their way; one more is lost.
const ON_THEIR_WAY: usize = 100;
/// Longest sleep: a machine that slept meanwhile has a clock that jumped.
const LOOK: Duration = Duration::from_secs(10);
/// A tick that is later than this belongs to the past.
const LATE: Duration = Duration::from_secs(30);

/// Namespace and name of a source.
pub(crate) type Key = (String, String);
/// What time it is.
type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// All schedules that run. Dropping it ends them.
pub(crate) struct Pings {
    post: Post,
    events: Recorder,
    now: Now,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<Key, Running>,
    tasks: JoinSet<()>,
}

/// A schedule that runs until this is dropped; what is on its way then goes on.
struct Running {
    plan: Arc<Plan>,
    _stop: DropGuard,
}

/// What is to be done.
struct Plan {
    source: PingSource,
    schedule: Schedule,
    sink: String,
    template: Template,
}

// === impl Pings ===

impl Pings {
    /// Nothing yet.
    pub(crate) fn new(post: Post, events: Recorder) -> Self {
        Self::with_clock(post, events, Arc::new(Timestamp::now))
    }

    fn with_clock(post: Post, events: Recorder, now: Now) -> Self {
        Self { post, events, now, state: Mutex::default() }
    }

    /// Lets a source's schedule run; one that runs as it should is left alone.
    pub(super) fn run(&self, source: &PingSource, sink: String) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let key = super::key(source);
        if state.running.get(&key).is_some_and(|running| running.plan.is(source, &sink)) {
            return;
        }
        state.running.remove(&key);
        while state.tasks.try_join_next().is_some() {}
        let Some(plan) = Plan::of(source, sink) else { return };
        let (plan, stop) = (Arc::new(plan), CancellationToken::new());
        let ticks = ticks(
            Arc::clone(&plan),
            self.post.clone(),
            self.events.clone(),
            Arc::clone(&self.now),
            stop.clone(),
        );
        state.tasks.spawn(ticks);
        state.running.insert(key, Running { plan, _stop: stop.drop_guard() });
    }

    /// No more events of that source.
    pub(crate) fn stop(&self, key: &Key) {
        self.state.lock().expect("no holder of this lock panics").running.remove(key);
    }
}

// === impl Plan ===

impl Plan {
    /// `None` for a schedule that admission would have refused.
    fn of(source: &PingSource, sink: String) -> Option<Self> {
        let schedule = Schedule::parse(&source.spec.schedule, source.spec.timezone.as_deref());
        let schedule = schedule
            .inspect_err(|error| tracing::warn!(name = source.name_any(), %error, "a schedule does not run"))
            .ok()?;
        Some(Self { source: source.clone(), schedule, sink, template: Template::of(source) })
    }

    fn is(&self, source: &PingSource, sink: &str) -> bool {
        self.sink == sink && self.source.spec == source.spec && self.source.uid() == source.uid()
    }
}

/// Sends an event at each of the plan's times until `stop`, then waits for those on their way.
async fn ticks(plan: Arc<Plan>, post: Post, events: Recorder, now: Now, stop: CancellationToken) {
    let mut sending = JoinSet::new();
    let mut after = now();
    while let Some(due) = plan.schedule.next(after) {
        tokio::select! {
            () = stop.cancelled() => break,
            () = until(due, &now) => {}
        }
        while sending.try_join_next().is_some() {}
        let woken = now();
        after = woken.max(due);
        if woken.duration_since(due) > jiff::SignedDuration::try_from(LATE).unwrap_or_default() {
            continue;
        }
        if sending.len() >= ON_THEIR_WAY {
            let message =
                format!("{ON_THEIR_WAY} events of this source wait for an answer; another one is lost");
            events.warn(&plan.source, TELLER, "SinkSendFailed", message);
            continue;
        }
        sending.spawn(send(Arc::clone(&plan), post.clone(), events.clone(), due));
    }
    while sending.join_next().await.is_some() {}
}

async fn send(plan: Arc<Plan>, post: Post, events: Recorder, due: Timestamp) {
    if let Err(lost) = post.send(&plan.sink, &plan.template.event(due)).await {
        events.warn(&plan.source, TELLER, "SinkSendFailed", lost.to_string());
    }
}

/// Sleeps until the wall clock says so.
async fn until(due: Timestamp, now: &Now) {
    loop {
        let left = due.duration_since(now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => sleep(left.min(LOOK)).await,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::json;
    use tokio::{net::TcpListener, sync::mpsc, time::Instant};

    use super::*;
    use crate::controllers::Domain;

    fn source(schedule: &str) -> PingSource {
        serde_json::from_value(json!({
            "apiVersion": "sources.knative.dev/v1", "kind": "PingSource",
            "metadata": {"name": "p", "namespace": "default", "uid": "u"},
            "spec": {"schedule": schedule, "data": schedule, "sink": {"uri": "http://a.default.localhost"}},
        }))
        .expect("a PingSource")
    }

    /// A sink; the times and data of its events.
    async fn sink() -> (SocketAddr, mpsc::UnboundedReceiver<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (events, seen) = mpsc::unbounded_channel();
        let router = axum::Router::new().fallback(move |headers: http::HeaderMap, body: String| {
            let time = headers["ce-time"].to_str().expect("text").to_owned();
            events.send((time, body)).expect("the test listens");
            async {}
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address, seen)
    }

    /// Schedules by a clock that `jump`s forward and otherwise goes with tokio's.
    fn pings(address: SocketAddr, jump: &Arc<Mutex<i64>>) -> Pings {
        let start: Timestamp = "2026-01-01T00:00:30Z".parse().expect("a time");
        let (began, jump) = (Instant::now(), Arc::clone(jump));
        let now = move || {
            let jumped = jiff::SignedDuration::from_secs(*jump.lock().expect("no panic"));
            start + jiff::SignedDuration::try_from(began.elapsed()).expect("short") + jumped
        };
        let post = Post::new(address, Domain { name: "localhost".into(), port: 80 });
        Pings::with_clock(post, crate::events::recorder().0, Arc::new(now))
    }

    #[tokio::test]
    async fn each_second_and_no_more_after_the_end() {
        let (address, mut seen) = sink().await;
        let pings = pings(address, &Arc::default());
        pings.run(&source("* * * * * *"), "http://a.default.localhost".into());
        let times = [seen.recv().await, seen.recv().await].map(|event| event.expect("an event").0);
        assert_eq!(times, ["2026-01-01T00:00:31Z", "2026-01-01T00:00:32Z"]);
        pings.stop(&("default".into(), "p".into()));
        let mut state = std::mem::take(&mut *pings.state.lock().expect("no panic"));
        while state.tasks.join_next().await.is_some() {}
        assert!(seen.try_recv().is_err(), "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_is_not_made_up_for() {
        let (address, mut seen) = sink().await;
        let jump = Arc::default();
        let pings = pings(address, &jump);
        pings.run(&source("0 * * * *"), "http://a.default.localhost".into());
        tokio::task::yield_now().await;
        // The machine sleeps over two of its times.
        *jump.lock().expect("no panic") = 2 * 3600;
        let (time, _) = seen.recv().await.expect("an event");
        assert_eq!(time, "2026-01-01T03:00:00Z");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_begins_anew_and_the_same_goes_on() {
        let (address, mut seen) = sink().await;
        let pings = pings(address, &Arc::default());
        let sink = || "http://a.default.localhost".to_owned();
        pings.run(&source("0 0 1 1 *"), sink());
        pings.run(&source("* * * * *"), sink());
        pings.run(&source("* * * * *"), sink());
        for time in ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"] {
            let event = seen.recv().await.expect("an event");
            assert_eq!(event, (time.to_owned(), "* * * * *".to_owned()));
        }
    }
}
