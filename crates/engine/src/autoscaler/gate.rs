//! The way into one Revision.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{load::Load, policy::Policy};
use crate::controllers::RevisionRef;

/// Requests that wait for a pod; one more is refused (Knative's activator: 10 000 in all).
const WAITING_MAX: u32 = 1000;
/// Window in which a sudden rise counts at once (Knative: a tenth of the stable window).
const PANIC_WINDOW: Duration = Duration::from_secs(6);

/// A ready pod.
#[derive(Debug)]
pub struct Endpoint {
    /// Name of the pod.
    pub pod: String,
    /// Where it listens.
    pub address: SocketAddr,
    in_flight: AtomicU32,
}

/// Why a request did not get in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// Too many wait already.
    #[error("too many requests wait for this function")]
    Full,
    /// No pod in time.
    #[error("no pod became ready within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// Pods cannot be started.
    #[error("{0}")]
    Failed(String),
}

/// The way into one Revision. Shared by the ingress (requests), the pod watcher (endpoints) and the Revision controller
/// (policy, failures).
#[derive(Debug)]
pub struct Gate {
    revision: RevisionRef,
    wishes: mpsc::Sender<RevisionRef>,
    state: Mutex<State>,
    desired: AtomicU32,
    waiting: AtomicU32,
    /// Something changed that a waiting request may want to look at.
    changed: Notify,
    failure: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct State {
    policy: Policy,
    ready_once: bool,
    endpoints: Vec<Arc<Endpoint>>,
    load: Load,
}

/// A request inside: dropping it lets the next one in.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    endpoint: Arc<Endpoint>,
}

/// A request counted from its arrival on, whether it waits or runs.
struct Counted(Arc<Gate>);

// === impl Endpoint ===

impl Endpoint {
    /// A pod that listens there.
    pub fn new(pod: &str, address: SocketAddr) -> Self {
        Self { pod: pod.into(), address, in_flight: AtomicU32::new(0) }
    }
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(revision: RevisionRef, wishes: mpsc::Sender<RevisionRef>) -> Self {
        let state =
            State { policy: Policy::default(), ready_once: false, endpoints: Vec::new(), load: Load::new() };
        Self {
            revision,
            wishes,
            state: Mutex::new(state),
            desired: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            changed: Notify::new(),
            failure: watch::Sender::new(None),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    pub(super) fn configure(&self, policy: Policy, ready: bool) {
        let mut state = self.state();
        if ready && !state.ready_once {
            // A new Revision has its full window before it may go to zero; one that was ready under an earlier engine
            // begins with what it needs.
            state.load.touch();
            state.ready_once = true;
            let running = u32::try_from(state.endpoints.len()).unwrap_or(u32::MAX);
            self.desired.store(policy.clamp(running), Ordering::Relaxed);
        }
        if !ready {
            self.desired.store(policy.first(), Ordering::Relaxed);
        }
        let least = policy.clamp(self.desired.load(Ordering::Relaxed));
        self.desired.store(least, Ordering::Relaxed);
        state.policy = policy;
    }

    /// Pods the Revision should have.
    pub fn desired(&self) -> u32 {
        self.desired.load(Ordering::Relaxed)
    }

    /// The ready pods, as the pod watcher sees them. Pods that stay keep their counters.
    pub fn set_endpoints(&self, pods: impl IntoIterator<Item = (String, SocketAddr)>) {
        let mut state = self.state();
        let old = std::mem::take(&mut state.endpoints);
        state.endpoints = pods
            .into_iter()
            .map(|(pod, address)| {
                let same = old.iter().find(|known| known.pod == pod && known.address == address);
                same.cloned().unwrap_or_else(|| Arc::new(Endpoint::new(&pod, address)))
            })
            .collect();
        let any = !state.endpoints.is_empty();
        drop(state);
        if any {
            self.failure.send_replace(None);
        }
        self.changed.notify_waiters();
    }

    /// Says why pods cannot be started (or that they can again): callers that wait get it as their answer.
    pub fn fail(&self, reason: Option<String>) {
        self.failure.send_replace(reason);
        self.changed.notify_waiters();
    }

    /// Longest time of a request.
    pub fn timeout(&self) -> Duration {
        self.state().policy.timeout
    }

    /// Waits for a pod with room.
    ///
    /// # Errors
    /// [`EnterError`] when too many wait, the time is up, or pods cannot be started.
    pub async fn enter(self: &Arc<Self>) -> Result<Permit, EnterError> {
        let limit = self.timeout();
        let deadline = Instant::now() + limit;
        self.state().load.enter();
        let counted = Counted(Arc::clone(self));
        let endpoint = match self.try_pick() {
            Some(endpoint) => endpoint,
            None => self.wait(deadline, limit).await?,
        };
        // From here on the permit does what `Counted` did.
        let gate = Arc::clone(&counted.0);
        std::mem::forget(counted);
        Ok(Permit { gate, endpoint })
    }

    async fn wait(&self, deadline: Instant, limit: Duration) -> Result<Arc<Endpoint>, EnterError> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(EnterError::Full);
        }
        // A failure that was seen before this request is no answer to it: pods get another chance.
        let mut failure = self.failure.subscribe();
        failure.mark_unchanged();
        let result = loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(endpoint) = self.try_pick() {
                break Ok(endpoint);
            }
            if failure.has_changed().unwrap_or(false)
                && let Some(reason) = failure.borrow_and_update().clone()
            {
                break Err(EnterError::Failed(reason));
            }
            self.wake();
            if timeout_at(deadline, changed).await.is_err() {
                break Err(EnterError::TimedOut(limit));
            }
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// The least busy pod with room; takes the place in it.
    fn try_pick(&self) -> Option<Arc<Endpoint>> {
        let state = self.state();
        let limit = state.policy.concurrency;
        let free =
            |endpoint: &&Arc<Endpoint>| limit == 0 || endpoint.in_flight.load(Ordering::Relaxed) < limit;
        let least =
            state.endpoints.iter().filter(free).min_by_key(|e| e.in_flight.load(Ordering::Relaxed))?;
        least.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(least))
    }

    /// From zero up at once.
    fn wake(&self) {
        if self.desired() == 0 {
            let one = self.state().policy.clamp(1).max(1);
            self.desired.store(one, Ordering::Relaxed);
            self.wish();
        }
    }

    fn wish(&self) {
        // A full channel means that the controller has much to look at; the next tick asks again.
        let _ = self.wishes.try_send(self.revision.clone());
    }

    /// Looks at the figures once a second.
    pub(super) fn tick(&self) {
        let wanted = {
            let mut state = self.state();
            state.load.tick();
            if !state.ready_once {
                return;
            }
            wanted(&state)
        };
        let running = u32::try_from(self.state().endpoints.len()).unwrap_or(u32::MAX);
        let before = self.desired.swap(wanted, Ordering::Relaxed);
        if before != wanted || running != wanted {
            self.wish();
        }
    }

    fn leave(&self, endpoint: Option<&Endpoint>) {
        if let Some(endpoint) = endpoint {
            endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        self.state().load.leave();
        self.changed.notify_one();
        self.changed.notify_waiters();
    }
}

/// Pods for the load seen: Knative's stable mode, with panic mode when the short window asks for twice what runs.
fn wanted(state: &State) -> u32 {
    let policy = &state.policy;
    if state.load.idle() >= policy.window + policy.retention {
        return policy.clamp(0);
    }
    let pods = |average: f64| (average / policy.target).ceil();
    let stable = pods(state.load.average(policy.window));
    let panic = pods(state.load.average(PANIC_WINDOW));
    let running = u32::try_from(state.endpoints.len()).unwrap_or(u32::MAX).max(1);
    let sudden = panic >= 2.0 * f64::from(running);
    let most = if sudden { stable.max(panic) } else { stable };
    // The value is small and not negative: pods of one machine.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32"
    )]
    let count = most.clamp(0.0, f64::from(u32::MAX)) as u32;
    // Within the window the last pod stays; where there is none, only a request brings one.
    let one = !state.endpoints.is_empty() || state.load.inside() > 0;
    policy.clamp(count.max(u32::from(one)))
}

// === impl Permit ===

impl Permit {
    /// Where to send the request.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// Takes this pod out of the choice: it refused a connection. The pod watcher brings it back if it lives.
    pub fn condemn(&self) {
        self.gate.state().endpoints.retain(|endpoint| !Arc::ptr_eq(endpoint, &self.endpoint));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(Some(&self.endpoint));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.leave(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> (Arc<Gate>, mpsc::Receiver<RevisionRef>) {
        let (wishes, receiver) = mpsc::channel(8);
        let revision = RevisionRef { namespace: "default".into(), name: "a-00001".into() };
        (Arc::new(Gate::new(revision, wishes)), receiver)
    }

    fn pod(number: u16) -> (String, SocketAddr) {
        (format!("pod{number}"), SocketAddr::from(([127, 0, 0, 1], number)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_the_first_pod_and_asks_for_it() {
        let (gate, mut wishes) = gate();
        gate.configure(Policy::default(), true);
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await }
        });
        wishes.recv().await.expect("a pod is asked for");
        assert_eq!(gate.desired(), 1);
        gate.set_endpoints([pod(7)]);
        let permit = waiting.await.expect("it ran").expect("it got in");
        assert_eq!(permit.address().port(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (gate, _wishes) = gate();
        gate.configure(Policy { timeout: Duration::from_secs(3), ..Policy::default() }, true);
        let error = gate.enter().await.expect_err("there is no pod");
        assert_eq!(error, EnterError::TimedOut(Duration::from_secs(3)));
        assert_eq!(gate.state().load.inside(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_answers_those_who_wait() {
        let (gate, mut wishes) = gate();
        gate.configure(Policy::default(), true);
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await }
        });
        wishes.recv().await.expect("a pod is asked for");
        gate.fail(Some("no image".into()));
        let error = waiting.await.expect("it ran").expect_err("it failed");
        assert_eq!(error, EnterError::Failed("no image".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_a_pod_and_the_next_when_it_left() {
        let (gate, _wishes) = gate();
        gate.configure(Policy { concurrency: 1, ..Policy::default() }, true);
        gate.set_endpoints([pod(1)]);
        let first = gate.enter().await.expect("there is room");
        let second = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.map(|permit| permit.address().port()) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert_eq!(second.await.expect("it ran"), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_for_a_window_means_zero() {
        let (gate, _wishes) = gate();
        gate.set_endpoints([pod(1)]);
        gate.configure(Policy::default(), true);
        drop(gate.enter().await.expect("there is room"));
        for _ in 0..59 {
            tokio::time::advance(Duration::from_secs(1)).await;
            gate.tick();
        }
        assert_eq!(gate.desired(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.tick();
        assert_eq!(gate.desired(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ready_revision_without_requests_starts_nothing() {
        let (gate, _wishes) = gate();
        gate.configure(Policy::default(), true);
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.tick();
        assert_eq!(gate.desired(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rise_brings_pods_within_the_limit() {
        let (gate, _wishes) = gate();
        gate.configure(Policy { concurrency: 1, target: 0.7, max: 3, ..Policy::default() }, true);
        gate.set_endpoints([pod(1)]);
        let _inside = gate.enter().await.expect("there is room");
        for _ in 0..5 {
            gate.state().load.enter();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.tick();
        assert_eq!(gate.desired(), 3);
    }
}
