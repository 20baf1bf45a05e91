//! The source into the build pod: waiting for the receiving step, and the upload.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use tm_resources::tekton::{TaskRun, TaskRunStatus};

use super::{Plan, RECEIVER, failure, waiting_text};
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
    until(runs, name, plan.timeout, "the build pod's start", |run| {
        let status = run.and_then(|run| run.status).unwrap_or_default();
        if let Some(why) = failure(&status) {
            return Ok(Look::Done(Sent::Failed(Box::new(Failed { why, status }))));
        }
        // On a cluster all containers start at once, and a step's program waits in its own for those before.
        let ended = |name: &str| status.steps.iter().any(|s| s.name == name && s.terminated.is_some());
        if let Some(pod) = &status.pod_name
            && status.steps.iter().any(|step| step.name == RECEIVER && step.running.is_some())
            && plan.steps_before().all(ended)
        {
            return Ok(Look::Done(Sent::To(pod.clone())));
        }
        let waiting = waiting_text(&status);
        step.state(&waiting);
        Ok(Look::Waiting(waiting))
    })
    .await
}
