//! The `status` of a pod from the states of its containers, in the words of Kubernetes.

use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

/// Longest termination message (Kubernetes: 4096 bytes a container).
pub(super) const MESSAGE_LIMIT: usize = 4096;

/// Where a container is in its life.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not started, or between two runs.
    Waiting {
        /// `ContainerCreating`, `PodInitializing`, `ErrImagePull`, `CrashLoopBackOff`…
        reason: &'static str,
        /// More of it.
        message: String,
    },
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It ended.
    Terminated {
        /// When it began.
        since: Timestamp,
        /// When it ended.
        until: Timestamp,
        /// Exit code.
        code: i32,
        /// `Completed`, `Error`.
        reason: &'static str,
        /// What it left in its termination message.
        message: String,
    },
}

/// A container as its pod's status shows it.
#[derive(Clone, Debug)]
pub(super) struct ContainerRun {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) state: State,
    /// How its last run ended, when it is not the first.
    pub(super) last: Option<State>,
    pub(super) ready: bool,
    pub(super) restarts: i32,
}

// === impl State ===

impl State {
    pub(super) fn waiting(reason: &'static str) -> Self {
        Self::Waiting { reason, message: String::new() }
    }

    pub(super) fn failed(&self) -> bool {
        matches!(self, Self::Terminated { code, .. } if *code != 0)
    }

    fn ended(&self) -> bool {
        matches!(self, Self::Terminated { .. })
    }
}

// === impl ContainerRun ===

impl ContainerRun {
    /// A container that has not begun.
    pub(super) fn new(name: &str, image: &str) -> Self {
        Self {
            name: name.into(),
            image: image.into(),
            image_id: String::new(),
            state: State::waiting("ContainerCreating"),
            last: None,
            ready: false,
            restarts: 0,
        }
    }

    fn status(&self) -> ContainerStatus {
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            ready: self.ready,
            started: Some(matches!(self.state, State::Running { .. })),
            restart_count: self.restarts,
            state: Some(container_state(&self.state)),
            last_state: self.last.as_ref().map(container_state),
            ..ContainerStatus::default()
        }
    }
}

fn container_state(state: &State) -> ContainerState {
    let mut out = ContainerState::default();
    match state.clone() {
        State::Waiting { reason, message } => {
            let message = (!message.is_empty()).then_some(message);
            out.waiting = Some(ContainerStateWaiting { reason: Some(reason.into()), message });
        }
        State::Running { since } => {
            out.running = Some(ContainerStateRunning { started_at: Some(Time(since)) })
        }
        State::Terminated { since, until, code, reason, message } => {
            out.terminated = Some(ContainerStateTerminated {
                exit_code: code,
                reason: Some(reason.into()),
                message: (!message.is_empty()).then_some(message),
                started_at: Some(Time(since)),
                finished_at: Some(Time(until)),
                ..ContainerStateTerminated::default()
            });
        }
    }
    out
}

/// Phase of a pod whose containers are not started again (`restartPolicy: Never`) or are (`Always`).
fn phase(runs: &[ContainerRun], restarts: bool) -> &'static str {
    if !restarts && runs.iter().all(|run| run.state.ended()) {
        return if runs.iter().any(|run| run.state.failed()) { "Failed" } else { "Succeeded" };
    }
    let begun = runs.iter().any(|run| !matches!(run.state, State::Waiting { .. }) || run.restarts > 0);
    if begun { "Running" } else { "Pending" }
}

/// The whole status.
pub(super) fn pod_status(pod: &Pod, runs: &[ContainerRun], started: Timestamp) -> PodStatus {
    let restarts = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) != Some("Never");
    let ready = runs.iter().all(|run| run.ready);
    let phase = phase(runs, restarts);
    let unready: Vec<&str> = runs.iter().filter(|run| !run.ready).map(|run| run.name.as_str()).collect();
    let why = match phase {
        "Succeeded" => "PodCompleted",
        "Failed" => "PodFailed",
        _ => "ContainersNotReady",
    };
    let unready = (why == "ContainersNotReady")
        .then(|| format!("containers with unready status: [{}]", unready.join(" ")));
    let condition = |type_: &str, holds: bool| PodCondition {
        type_: type_.into(),
        status: if holds { "True" } else { "False" }.into(),
        reason: (!holds).then(|| why.into()),
        message: unready.clone().filter(|_| !holds),
        ..PodCondition::default()
    };
    let mut initialized = condition("Initialized", true);
    initialized.reason = (phase == "Succeeded").then(|| why.into());
    PodStatus {
        phase: Some(phase.into()),
        start_time: Some(Time(started)),
        host_ip: Some("127.0.0.1".into()),
        host_ips: Some(vec![HostIP { ip: "127.0.0.1".into() }]),
        pod_ip: Some("127.0.0.1".into()),
        pod_ips: Some(vec![PodIP { ip: "127.0.0.1".into() }]),
        conditions: Some(vec![
            condition("PodScheduled", true),
            initialized,
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ]),
        container_statuses: Some(runs.iter().map(ContainerRun::status).collect()),
        ..PodStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: State) -> ContainerRun {
        ContainerRun { state, ..ContainerRun::new("a", "i") }
    }

    fn ended(code: i32) -> State {
        let now = Timestamp::UNIX_EPOCH;
        State::Terminated { since: now, until: now, code, reason: "Completed", message: String::new() }
    }

    #[test]
    fn phases() {
        let running = State::Running { since: Timestamp::UNIX_EPOCH };
        assert_eq!(phase(&[run(State::waiting("x"))], false), "Pending");
        assert_eq!(phase(&[run(ended(0)), run(running.clone())], false), "Running");
        assert_eq!(phase(&[run(ended(0)), run(ended(0))], false), "Succeeded");
        assert_eq!(phase(&[run(ended(0)), run(ended(2))], false), "Failed");
        assert_eq!(phase(&[run(ended(2))], true), "Running");
    }
}
