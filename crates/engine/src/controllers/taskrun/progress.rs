//! How a run goes, read from its pod.

use k8s_openapi::{
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use tm_resources::{
    ConditionStatus,
    tekton::{RunResult, StepState, TaskRun, TaskRunStatus},
};

use super::{now, set};
use crate::runner::kubelet::{INTERNAL_RESULT, TOO_LARGE, Told};

/// Waiting reasons that will not go away, with the reason Tekton gives the run.
const HOPELESS: &[(&str, &str)] = &[
    ("ErrImagePull", "TaskRunImagePullFailed"),
    ("ImagePullBackOff", "TaskRunImagePullFailed"),
    ("CreateContainerConfigError", "CreateContainerConfigError"),
    ("RunContainerError", "Failed"),
];

/// One entry of a termination message.
#[derive(Deserialize, Serialize)]
struct Reported {
    key: String,
    value: String,
    #[serde(rename = "type")]
    type_: u8,
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
pub(super) fn end_step(step: &mut StepState, reason: &str, pod: &str) {
    if step.terminated.is_none() {
        let running = step.running.take();
        step.waiting = None;
        step.termination_reason = Some(reason.into());
        step.terminated = Some(ContainerStateTerminated {
            exit_code: 1,
            reason: Some(reason.into()),
            message: Some(format!("Step {} terminated as pod {pod} is terminated", step.name)),
            started_at: running.and_then(|running| running.started_at),
            finished_at: Some(Time(Timestamp::now())),
            ..ContainerStateTerminated::default()
        });
    }
}

fn step(container: &ContainerStatus) -> StepState {
    let state = container.state.clone().unwrap_or_default();
    let mut terminated = state.terminated;
    let told = terminated.as_mut().and_then(take_internal);
    let reason = || terminated.as_ref().and_then(|terminated| terminated.reason.clone());
    let termination_reason = told.or_else(reason);
    let mut other = serde_json::Map::new();
    if !container.image_id.is_empty() {
        other.insert("imageID".into(), container.image_id.clone().into());
    }
    StepState {
        name: container.name.trim_start_matches("step-").to_owned(),
        container: container.name.clone(),
        termination_reason,
        waiting: state.waiting,
        running: state.running,
        terminated,
        other,
    }
}

/// Leaves the results in a step's message and takes out what its container says to Tekton alone: a reason is returned, the
/// code of a step that failed and may is its own.
fn take_internal(terminated: &mut ContainerStateTerminated) -> Option<String> {
    let reported: Vec<Reported> = serde_json::from_str(terminated.message.as_deref()?).ok()?;
    let (internal, results): (Vec<_>, Vec<_>) =
        reported.into_iter().partition(|reported| reported.type_ == INTERNAL_RESULT);
    terminated.message = serde_json::to_string(&results).ok().filter(|_| !results.is_empty());
    let said =
        |key: &str| internal.iter().find(|reported| reported.key == key).map(|reported| &reported.value);
    let code: Option<i32> = said(Told::EXIT_CODE).and_then(|code| code.parse().ok());
    terminated.exit_code = code.unwrap_or(terminated.exit_code);
    said(Told::REASON).cloned().or_else(|| code.map(|_| Told::CONTINUED.to_owned()))
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
        .filter(|reported| reported.type_ != INTERNAL_RESULT && known(&reported.key))
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
            let late = take_internal(&mut terminated.clone()).as_deref() == Some(Told::TIMED_OUT);
            let text = match terminated.exit_code {
                _ if late => {
                    format!(
                        "\"{}\" exited because the step exceeded the specified timeout limit",
                        container.name
                    )
                }
                code => format!("\"{}\" exited with code {code}: {reason}", container.name),
            };
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(message: &str) -> ContainerStatus {
        let terminated = json!({"exitCode": 1, "reason": "Error", "message": message});
        let status = json!({"name": "step-a", "image": "i", "imageID": "i@sha256:1", "ready": false,
            "restartCount": 0, "state": {"terminated": terminated}});
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn a_step_shows_results_and_not_what_is_meant_for_tekton() {
        let result = r#"{"key":"R","value":"hi","type":1}"#;
        let skipped = r#"{"key":"Reason","value":"Skipped","type":3}"#;
        let step = step(&container(&format!("[{result},{skipped}]")));
        assert_eq!(step.termination_reason.as_deref(), Some("Skipped"));
        let terminated = step.terminated.expect("it ended");
        assert_eq!(terminated.reason.as_deref(), Some("Error"));
        assert_eq!(terminated.message.as_deref(), Some(&*format!("[{result}]")));
        assert_eq!(step.other["imageID"], "i@sha256:1");
    }

    #[test]
    fn a_step_that_failed_and_may_shows_its_code() {
        let step = step(&container(r#"[{"key":"ExitCode","value":"7","type":3}]"#));
        assert_eq!(step.termination_reason.as_deref(), Some("Continued"));
        assert_eq!(step.terminated.map(|terminated| terminated.exit_code), Some(7));
    }

    #[test]
    fn a_message_without_results_is_none_and_another_stays() {
        let ended = |message: &str| step(&container(message)).terminated.expect("it ended").message;
        assert_eq!(ended(r#"[{"key":"Reason","value":"Skipped","type":3}]"#), None);
        assert_eq!(ended(TOO_LARGE).as_deref(), Some(TOO_LARGE));
    }
}
