//! The way into one Revision.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{load::Load, policy::Policy, slow_down::SlowDown};
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
    /// It refused a connection; not chosen until the next tick.
    condemned: AtomicBool,
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
    /// Whether the Revision controller has seen this Revision.
    configured: bool,
    ready_once: bool,
    endpoints: Vec<Arc<Endpoint>>,
    load: Load,
    slow_down: SlowDown,
}

/// A request inside: dropping it lets the next one in.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    endpoint: Arc<Endpoint>,
}

/// How long an exchange with a pod may take, from when the pod has the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Until its end.
    pub(crate) whole: Duration,
    /// Until the answer begins.
    pub(crate) first_byte: Duration,
    /// Between parts of the answer.
    pub(crate) idle: Option<Duration>,
}

/// A request counted from its arrival on, whether it waits or runs.
struct Counted(Option<Arc<Gate>>);

/// A request in the queue: leaves it however its waiting ends, also when its caller hangs up.
struct Queued<'a>(&'a Gate);

// === impl Endpoint ===

impl Endpoint {
    /// A pod that listens there.
    pub fn new(pod: &str, address: SocketAddr) -> Self {
        Self { pod: pod.into(), address, in_flight: AtomicU32::new(0), condemned: AtomicBool::new(false) }
    }
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(revision: RevisionRef, wishes: mpsc::Sender<RevisionRef>) -> Self {
        let state = State {
            policy: Policy::default(),
            configured: false,
            ready_once: false,
            endpoints: Vec::new(),
            load: Load::new(),
            slow_down: SlowDown::default(),
        };
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
        state.configured = true;
    }

    /// Whether nothing would be lost with this gate: nobody configured it, it has no pods and nobody is in it.
    pub(super) fn is_idle_stranger(&self) -> bool {
        let state = self.state();
        !state.configured && state.endpoints.is_empty() && state.load.inside() == 0
    }

    /// Pods the Revision should have.
    pub fn desired(&self) -> u32 {
        self.desired.load(Ordering::Relaxed)
    }

    /// Number of ready pods.
    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.state().endpoints.len()
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

    /// Longest times of an exchange with a pod.
    pub(crate) fn limits(&self) -> Limits {
        let policy = &self.state().policy;
        Limits { whole: policy.timeout, first_byte: policy.first_byte, idle: policy.idle }
    }

    /// Waits for a pod with room.
    ///
    /// # Errors
    /// [`EnterError`] when too many wait, the time is up, or pods cannot be started.
    pub async fn enter(self: &Arc<Self>) -> Result<Permit, EnterError> {
        let limit = self.timeout();
        let deadline = Instant::now() + limit;
        self.state().load.enter();
        let mut counted = Counted(Some(Arc::clone(self)));
        let endpoint = match self.try_pick() {
            Some(endpoint) => endpoint,
            None => self.wait(deadline, limit).await?,
        };
        // From here on the permit does what `Counted` did.
        counted.0 = None;
        Ok(Permit { gate: Arc::clone(self), endpoint })
    }

    async fn wait(&self, deadline: Instant, limit: Duration) -> Result<Arc<Endpoint>, EnterError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _queued = Queued(self);
        if before >= WAITING_MAX {
            return Err(EnterError::Full);
        }
        // A failure that was seen before this request is no answer to it: pods get another chance.
        let mut failure = self.failure.subscribe();
        failure.mark_unchanged();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(endpoint) = self.try_pick() {
                return Ok(endpoint);
            }
            if failure.has_changed().unwrap_or(false)
                && let Some(reason) = failure.borrow_and_update().clone()
            {
                return Err(EnterError::Failed(reason));
            }
            self.wake();
            if timeout_at(deadline, changed).await.is_err() {
                return Err(EnterError::TimedOut(limit));
            }
        }
    }

    /// The least busy pod with room; takes the place in it.
    fn try_pick(&self) -> Option<Arc<Endpoint>> {
        let state = self.state();
        let limit = state.policy.concurrency;
        let free = |endpoint: &&Arc<Endpoint>| {
            let room = limit == 0 || endpoint.in_flight.load(Ordering::Relaxed) < limit;
            room && !endpoint.condemned.load(Ordering::Relaxed)
        };
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
        self.pardon();
        let wanted = {
            let mut state = self.state();
            state.load.tick();
            if !state.ready_once {
                return;
            }
            let (now, delay) = (wanted(&state), state.policy.delay);
            let most = state.slow_down.after(now, delay);
            state.policy.clamp(most)
        };
        let running = u32::try_from(self.state().endpoints.len()).unwrap_or(u32::MAX);
        let before = self.desired.swap(wanted, Ordering::Relaxed);
        if before != wanted || running != wanted {
            self.wish();
        }
    }

    /// Pods that refused a connection get another chance: the pod watcher tells only of those that changed.
    fn pardon(&self) {
        let condemned = |endpoint: &Arc<Endpoint>| endpoint.condemned.swap(false, Ordering::Relaxed);
        if self.state().endpoints.iter().filter(|endpoint| condemned(endpoint)).count() > 0 {
            self.changed.notify_waiters();
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
    let pods = |window| (state.load.average(policy.metric, window) / policy.target).ceil();
    let (stable, panic) = (pods(policy.window), pods(PANIC_WINDOW));
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

    /// Takes this pod out of the choice until the next tick: it refused a connection. If it is gone for good, the pod
    /// watcher says so.
    pub fn condemn(&self) {
        self.endpoint.condemned.store(true, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(Some(&self.endpoint));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.leave(None);
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
