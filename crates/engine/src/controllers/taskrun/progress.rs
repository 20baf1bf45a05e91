//! How a run goes, read from its pod.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use serde::Deserialize;
use tm_resources::{
    ConditionStatus,
    tekton::{RunResult, StepState, TaskRun, TaskRunStatus},
};

use super::{now, set};
use crate::runner::kubelet::TOO_LARGE;

/// Waiting reasons that will not go away, with the reason Tekton gives the run.
const HOPELESS: &[(&str, &str)] = &[
    ("ErrImagePull", "TaskRunImagePullFailed"),
    ("ImagePullBackOff", "TaskRunImagePullFailed"),
    ("CreateContainerConfigError", "CreateContainerConfigError"),
    ("RunContainerError", "Failed"),
];

/// One entry of a termination message.
#[derive(Deserialize)]
struct Reported {
    key: String,
    value: String,
}

/// Brings the status up to the pod's.
pub(super) fn update(status: &mut TaskRunStatus, run: &TaskRun, pod: &Pod) {
    let containers: &[ContainerStatus] =
        pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    status.steps = containers.iter().map(step).collect();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    match phase {
        "Succeeded" => succeed(status, run, containers),
        "Failed" => fail(status, pod, containers),
        _ => match waiting(containers) {
            Some((reason, container, message)) => {
                let text = match reason {
                    "TaskRunImagePullFailed" => format!(
                        "the step \"{}\" in TaskRun \"{}\" failed to pull the image \"{}\". The pod errored with the message: \"{message}.\"",
                        container.name.trim_start_matches("step-"),
                        run.name_any(),
                        container.image,
                    ),
                    "CreateContainerConfigError" => {
                        format!("Failed to create pod due to config error: {message}")
                    }
                    _ => message,
                };
                end(status, reason, &text);
            }
            None if phase == "Running" => {
                set(
                    status,
                    ConditionStatus::Unknown,
                    "Running",
                    "Not all Steps in the Task have finished executing",
                );
            }
            None => set(status, ConditionStatus::Unknown, "Pending", "Pending"),
        },
    }
}

/// Whether the pod of a failed run must be removed: it would wait for ever.
pub(super) fn must_go(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// A step of a run that was ended from outside.
pub(super) fn end_step(step: &mut StepState, reason: &str) {
    if step.terminated.is_none() {
        step.running = None;
        step.waiting = None;
        step.termination_reason = Some(reason.into());
        step.terminated = Some(k8s_openapi::api::core::v1::ContainerStateTerminated {
            exit_code: 1,
            reason: Some(reason.into()),
            ..Default::default()
        });
    }
}

fn step(container: &ContainerStatus) -> StepState {
    let state = container.state.clone().unwrap_or_default();
    let mut terminated = state.terminated;
    if let Some(terminated) = &mut terminated {
        // The message carries results, which have a place of their own in the run's status.
        terminated.message = None;
    }
    StepState {
        name: container.name.trim_start_matches("step-").to_owned(),
        container: container.name.clone(),
        termination_reason: terminated.as_ref().and_then(|terminated| terminated.reason.clone()),
        waiting: state.waiting,
        running: state.running,
        terminated,
        ..StepState::default()
    }
}

fn waiting(containers: &[ContainerStatus]) -> Option<(&'static str, &ContainerStatus, String)> {
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let (_, reason) = HOPELESS.iter().find(|(kind, _)| waiting.reason.as_deref() == Some(kind))?;
        Some((*reason, container, waiting.message.clone().unwrap_or_default()))
    })
}

fn succeed(status: &mut TaskRunStatus, run: &TaskRun, containers: &[ContainerStatus]) {
    let mut messages =
        containers.iter().filter_map(|c| c.state.as_ref()?.terminated.as_ref()?.message.as_deref());
    let Some(message) = messages.next_back() else { return succeeded(status) };
    if message == TOO_LARGE {
        return end(status, "TaskRunResultLargerThanAllowedLimit", TOO_LARGE);
    }
    let declared = status.task_spec.as_ref().or(run.spec.task_spec.as_ref());
    let reported: Vec<Reported> = serde_json::from_str(message).unwrap_or_default();
    let known = |key: &str| declared.is_none_or(|task| task.results.iter().any(|result| result.name == key));
    status.results = reported
        .into_iter()
        .filter(|reported| known(&reported.key))
        .map(|reported| RunResult {
            name: reported.key,
            type_: Some("string".into()),
            value: reported.value.as_str().into(),
        })
        .collect();
    succeeded(status);
}

fn succeeded(status: &mut TaskRunStatus) {
    set(status, ConditionStatus::True, "Succeeded", "All Steps have completed executing");
    status.completion_time.get_or_insert_with(now);
}

fn fail(status: &mut TaskRunStatus, pod: &Pod, containers: &[ContainerStatus]) {
    let failed = containers.iter().find_map(|container| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        (terminated.exit_code != 0).then_some((container, terminated))
    });
    match failed {
        Some((container, terminated)) => {
            let reason = terminated.reason.as_deref().unwrap_or("Error");
            let text = format!("\"{}\" exited with code {}: {reason}", container.name, terminated.exit_code);
            end(status, "StepFailed", &text);
        }
        None => {
            let message = pod.status.as_ref().and_then(|status| status.message.clone());
            end(status, "PodEvicted", &message.unwrap_or_else(|| "the pod failed".into()));
        }
    }
}

fn end(status: &mut TaskRunStatus, reason: &str, message: &str) {
    set(status, ConditionStatus::False, reason, message);
    status.completion_time.get_or_insert_with(now);
}
