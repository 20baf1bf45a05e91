//! How many pods a Revision should have, and who may be sent to now.
//!
//! The ingress enters a [`Gate`] with each request and leaves it when the answer is done; the gate knows the ready pods,
//! holds requests while there is none, and keeps the concurrency figures. [`Autoscaler::run`] looks at every gate once
//! a second and follows Knative's annotations: average concurrency over the stable window against the target, at once up
//! from zero, down to zero when the window has passed without a request.

mod gate;
mod load;
mod policy;
mod slow_down;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tm_resources::serving::Revision;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(crate) use gate::Limits;
pub use gate::{Endpoint, EnterError, Gate, Permit};
pub(crate) use policy::is_hpa;
pub use policy::{Metric, Policy};

use crate::controllers::RevisionRef;

/// How often figures are looked at (Knative: 2 s).
const TICK: Duration = Duration::from_secs(1);
/// Wishes that wait for the Revision controller; a gate that finds it full asks again at the next tick.
const WISHES: usize = 256;

/// All gates.
#[derive(Debug)]
pub struct Autoscaler {
    gates: Mutex<HashMap<RevisionRef, Arc<Gate>>>,
    wishes: mpsc::Sender<RevisionRef>,
}

// === impl Autoscaler ===

impl Autoscaler {
    /// An autoscaler, and where the names of Revisions come out whose number of pods should change.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<RevisionRef>) {
        let (wishes, receiver) = mpsc::channel(WISHES);
        (Arc::new(Self { gates: Mutex::default(), wishes }), receiver)
    }

    /// The gate of a Revision, made on first use.
    pub fn gate(&self, revision: &RevisionRef) -> Arc<Gate> {
        let mut gates = self.gates.lock().expect("no holder of this lock panics");
        let make = || Arc::new(Gate::new(revision.clone(), self.wishes.clone()));
        Arc::clone(gates.entry(revision.clone()).or_insert_with(make))
    }

    /// Takes the annotations of a Revision. `ready` says whether it ever was: before, it keeps its initial scale.
    pub fn configure(&self, revision: &RevisionRef, object: &Revision, ready: bool) -> Arc<Gate> {
        let gate = self.gate(revision);
        gate.configure(Policy::of(object), ready);
        gate
    }

    /// Forgets a Revision that was deleted; callers that wait are told.
    pub fn forget(&self, revision: &RevisionRef) {
        let gate = self.gates.lock().expect("no holder of this lock panics").remove(revision);
        if let Some(gate) = gate {
            gate.fail(Some("the Revision was deleted".into()));
        }
    }

    /// Looks at every gate once a second until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            for gate in self.gates() {
                gate.tick();
            }
        }
    }

    /// All gates. Those that a request for a Revision that is not there has made go.
    fn gates(&self) -> Vec<Arc<Gate>> {
        let mut gates = self.gates.lock().expect("no holder of this lock panics");
        gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle_stranger());
        gates.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gates_of_deleted_revisions_go_and_strangers_do_not_stay() {
        let (autoscaler, _wishes) = Autoscaler::new();
        let named = |name: &str| RevisionRef { namespace: "default".into(), name: name.into() };
        autoscaler.configure(&named("known"), &Revision::default(), true);
        let held = autoscaler.gate(&named("asked"));
        drop(autoscaler.gate(&named("stranger")));
        assert_eq!(autoscaler.gates().len(), 2);
        drop(held);
        autoscaler.forget(&named("known"));
        assert!(autoscaler.gates().is_empty());
    }
}
