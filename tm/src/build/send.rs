//! The source into the build pod: waiting for the receiving step, and the upload.

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use tm_resources::tekton::{TaskRun, TaskRunStatus};

use super::{Plan, RECEIVER, failure, in_time, waiting_text};
use crate::{
    commands::Session,
    source::Archive,
    target::Target,
    upload::{Receiver, upload},
    wait::{Look, until},
};

/// How it ended.
pub(super) enum Sent {
    /// The source is in this pod.
    To(String),
    /// The run failed before.
    Failed(Box<Failed>),
}

/// A run that failed.
pub(super) struct Failed {
    /// Reason and message.
    pub(super) why: String,
    /// Its status.
    pub(super) status: TaskRunStatus,
}

/// Waits for the receiving step and uploads into it.
///
/// # Errors
/// [`crate::upload::PodLost`] among others: then the run cannot go on, and another one can.
pub(super) async fn send(
    session: &Session,
    target: &Target,
    plan: &Plan,
    created: &TaskRun,
    archive: &Archive,
) -> Result<Sent> {
    let pod = match receiving(session, target, plan, &created.name_any()).await? {
        Sent::To(pod) => pod,
        failed => return Ok(failed),
    };
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let command = plan.unpack_command(created.uid().as_deref().unwrap_or_default());
    let receiver = Receiver { pod: pod.clone(), container: format!("step-{RECEIVER}"), command };
    upload(&pods, &receiver, archive, &session.printer).await?;
    Ok(Sent::To(pod))
}

/// Waits until the receiving step runs.
async fn receiving(session: &Session, target: &Target, plan: &Plan, name: &str) -> Result<Sent> {
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let step = session.printer.step(format!("Waiting for taskrun \"{name}\" ready state"));
    let what = format!("the start of the build pod of {name}");
    let running = until(runs, name, plan.timeout, &what, |run| {
        let Some(run) = run else { bail!("the TaskRun was deleted") };
        let status = run.status.unwrap_or_default();
        if let Some(why) = failure(&status) {
            return Ok(Look::Done(Sent::Failed(Box::new(Failed { why, status }))));
        }
        if let Some(pod) = ready(&status, plan.steps_before()) {
            return Ok(Look::Done(Sent::To(pod.to_owned())));
        }
        let waiting = waiting_text(&status);
        step.state(&waiting);
        Ok(Look::Waiting(waiting))
    });
    in_time(running.await)
}

/// The pod whose receiving step takes the source now. On a cluster all containers start at once, and a step's program waits
/// in its own for those before: what runs is not yet its turn, and after a step that failed its turn never comes.
fn ready<'a>(status: &'a TaskRunStatus, mut before: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let step = |name: &str| status.steps.iter().find(|step| step.name == name);
    let ended_well =
        |name| step(name).and_then(|step| step.terminated.as_ref()).is_some_and(|end| end.exit_code == 0);
    let runs = step(RECEIVER).is_some_and(|step| step.running.is_some());
    status.pod_name.as_deref().filter(|_| runs && before.all(ended_well))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ready_pod(check: Value, receiver: Value) -> Option<String> {
        let step = |name: &str, mut state: Value| {
            state["name"] = name.into();
            state
        };
        let steps = [step("check-push", check), step(RECEIVER, receiver)];
        let status: TaskRunStatus =
            serde_json::from_value(json!({"podName": "p", "steps": steps})).expect("it is a status");
        ready(&status, ["check-push"].into_iter()).map(str::to_owned)
    }

    #[test]
    fn the_source_is_sent_when_its_step_has_its_turn() {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let running = json!({"running": {}});
        assert_eq!(ready_pod(ended(0), running.clone()), Some("p".into()));
        assert_eq!(ready_pod(ended(0), json!({"waiting": {}})), None);
        assert_eq!(ready_pod(running.clone(), running.clone()), None);
        assert_eq!(ready_pod(ended(1), running), None, "the receiver still runs, to find that it is skipped");
    }
}
