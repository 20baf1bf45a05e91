//! TaskRun: turns a Task into a pod of steps and reports how it goes, in Tekton's words.

mod pod;
mod progress;
mod retry;
mod step;
mod substitute;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
    runtime::controller::Action,
};
use tm_resources::{
    Condition, ConditionStatus,
    condition::find,
    tekton::{Task, TaskRun, TaskRunStatus, TaskSpec},
};

use super::{Context, ReconcileError};
use crate::{events::Teller, go_duration};

/// Tekton's default (`config-defaults`).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Why a run cannot begin: the reason and message of its condition.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    reason: &'static str,
    message: String,
}

/// One look at a TaskRun.
pub(super) async fn reconcile(run: Arc<TaskRun>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    if run.metadata.deletion_timestamp.is_some() || is_done(&run) {
        return Ok(Action::await_change());
    }
    let mut status = run.status.clone().unwrap_or_default();
    match run.spec.status.as_deref() {
        Some("TaskRunPending") => {
            set(&mut status, ConditionStatus::Unknown, "TaskRunPending", "TaskRun is pending");
            return write(&run, &status, &context).await;
        }
        Some("TaskRunCancelled") => return cancel(&run, status, &context).await,
        _ => {}
    }
    if timed_out(&run, &status) {
        let timeout = go_duration::text(timeout_of(&run).unwrap_or_default());
        let message = format!("TaskRun \"{}\" failed to finish within \"{timeout}\"", run.name_any());
        if retry::left(&run, &status) {
            if let Some(pod) = status.pod_name.clone() {
                delete(&run, &pod, &context).await?;
            }
            let failed =
                Condition::new("Succeeded", ConditionStatus::False).because("TaskRunTimeout", &message);
            retry::begin(&mut status, &failed);
            return write(&run, &status, &context).await;
        }
        return stop(&run, status, "TaskRunTimeout", &message, &context).await;
    }
    let pod = match pod_of(&run, &status, &context).await? {
        Some(pod) => pod,
        None if status.pod_name.is_some() => {
            let message = format!("pod \"{}\" is gone", status.pod_name.clone().unwrap_or_default());
            return stop(&run, status, "PodEvicted", &message, &context).await;
        }
        None => match begin(&run, &mut status, &context).await? {
            Ok(pod) => pod,
            Err(refused) => return stop(&run, status, refused.reason, &refused.message, &context).await,
        },
    };
    progress::update(&mut status, &run, &pod);
    if let Some(condition) = find(&status.conditions, "Succeeded").cloned()
        && condition.status == ConditionStatus::False
        && retry::left(&run, &status)
    {
        delete(&run, &pod.name_any(), &context).await?;
        retry::begin(&mut status, &condition);
        return write(&run, &status, &context).await;
    }
    if let Some(condition) = find(&status.conditions, "Succeeded")
        && condition.status == ConditionStatus::False
        && progress::must_go(&pod)
    {
        delete(&run, &pod.name_any(), &context).await?;
    }
    write(&run, &status, &context).await?;
    Ok(Action::requeue(time_left(&run, &status)))
}

fn is_done(run: &TaskRun) -> bool {
    let conditions = run.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|c| c.type_ == "Succeeded" && c.status != ConditionStatus::Unknown)
}

/// The run's pod, by the name in its status, else by its label (the status may be a write behind).
async fn pod_of(
    run: &TaskRun,
    status: &TaskRunStatus,
    context: &Context,
) -> Result<Option<Pod>, ReconcileError> {
    let api: Api<Pod> = context.beside(run);
    let name = status.pod_name.clone().unwrap_or_else(|| pod::name(run, status));
    let found = api.get_opt(&name).await?;
    Ok(found.filter(|pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == run.uid().as_ref())))
}

/// Resolves the Task and creates the pod.
async fn begin(
    run: &TaskRun,
    status: &mut TaskRunStatus,
    context: &Context,
) -> Result<Result<Pod, Refused>, ReconcileError> {
    status.start_time.get_or_insert_with(now);
    let (task_name, task) = match task_of(run, context).await? {
        Ok(task) => task,
        Err(refused) => return Ok(Err(refused)),
    };
    let resolved = match substitute::resolve(run, &task_name, &task) {
        Ok(resolved) => resolved,
        Err(refused) => return Ok(Err(refused)),
    };
    let pod = match pod::build(run, status, &task_name, &resolved) {
        Ok(pod) => pod,
        Err(refused) => return Ok(Err(refused)),
    };
    status.task_spec = Some(resolved);
    let api: Api<Pod> = context.beside(run);
    let created = match api.create(&PostParams::default(), &pod).await {
        Ok(created) => created,
        Err(kube::Error::Api(error)) if error.code == 422 || error.code == 400 || error.code == 403 => {
            let message = format!("failed to create task run pod \"{}\": {}", run.name_any(), error.message);
            return Ok(Err(Refused { reason: "PodCreationFailed", message }));
        }
        Err(kube::Error::Api(error)) if error.reason == "AlreadyExists" => {
            match taken(run, api.get_opt(&pod::name(run, status)).await?) {
                Taken::Own(pod) => *pod,
                Taken::Foreign => {
                    let message =
                        format!("failed to create task run pod \"{}\": {}", run.name_any(), error.message);
                    return Ok(Err(Refused { reason: "PodCreationFailed", message }));
                }
                // It is tried again.
                Taken::Leaving => return Err(kube::Error::Api(error).into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    status.pod_name = Some(created.name_any());
    Ok(Ok(created))
}

/// Whose pod has the name that a run's pod should have.
enum Taken {
    /// The run's own, made by a reconciliation whose status was not written.
    Own(Box<Pod>),
    /// That of an earlier run of the same name; it goes with its owner.
    Leaving,
    /// Somebody else's.
    Foreign,
}

fn taken(run: &TaskRun, pod: Option<Pod>) -> Taken {
    let Some(pod) = pod else { return Taken::Leaving };
    let owners = pod.owner_references();
    if owners.iter().any(|owner| Some(&owner.uid) == run.uid().as_ref()) {
        return Taken::Own(Box::new(pod));
    }
    let namesake = owners.iter().any(|owner| owner.kind == "TaskRun" && owner.name == run.name_any());
    if namesake || pod.metadata.deletion_timestamp.is_some() { Taken::Leaving } else { Taken::Foreign }
}

async fn task_of(
    run: &TaskRun,
    context: &Context,
) -> Result<Result<(String, TaskSpec), Refused>, ReconcileError> {
    if let Some(spec) = &run.spec.task_spec {
        return Ok(Ok((run.name_any(), spec.clone())));
    }
    let reference = run.spec.task_ref.clone().unwrap_or_default();
    let Some(name) = reference.name else {
        let message = "remote Tasks (resolvers) are not served by the embedded engine".to_owned();
        return Ok(Err(Refused { reason: "TaskRunResolutionFailed", message }));
    };
    let tasks: Api<Task> = context.beside(run);
    Ok(match tasks.get_opt(&name).await? {
        Some(task) => Ok((name, task.spec)),
        None => Err(Refused {
            reason: "TaskRunResolutionFailed",
            message: format!(
                "error when listing tasks for taskRun {}: tasks.tekton.dev \"{name}\" not found",
                run.name_any()
            ),
        }),
    })
}

async fn cancel(run: &TaskRun, status: TaskRunStatus, context: &Context) -> Result<Action, ReconcileError> {
    // Tekton puts the space there whether or not something follows.
    let why = run.spec.status_message.as_deref().unwrap_or_default();
    let message = format!("TaskRun \"{}\" was cancelled. {why}", run.name_any());
    stop(run, status, "TaskRunCancelled", &message, context).await
}

/// Ends the run as failed; its pod goes.
async fn stop(
    run: &TaskRun,
    mut status: TaskRunStatus,
    reason: &str,
    message: &str,
    context: &Context,
) -> Result<Action, ReconcileError> {
    if let Some(pod) = pod_of(run, &status, context).await? {
        delete(run, &pod.name_any(), context).await?;
        status.pod_name = Some(pod.name_any());
    }
    // Clients find the name there even when there was no pod.
    let pod = status.pod_name.get_or_insert_default().clone();
    for step in &mut status.steps {
        progress::end_step(step, reason, &pod);
    }
    set(&mut status, ConditionStatus::False, reason, message);
    status.completion_time.get_or_insert_with(now);
    write(run, &status, context).await
}

async fn delete(run: &TaskRun, pod: &str, context: &Context) -> Result<(), ReconcileError> {
    let api: Api<Pod> = context.beside(run);
    match api.delete(pod, &DeleteParams::default().grace_period(2)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

async fn write(run: &TaskRun, status: &TaskRunStatus, context: &Context) -> Result<Action, ReconcileError> {
    context.write_status(run, run.status.as_ref(), status).await?;
    tell(run, status, context);
    Ok(Action::await_change())
}

/// Says that the run began or ended (Tekton's events, their reasons).
fn tell(run: &TaskRun, status: &TaskRunStatus, context: &Context) {
    let before = run.status.as_ref().and_then(|status| find(&status.conditions, "Succeeded"));
    let Some(after) = find(&status.conditions, "Succeeded") else { return };
    if before.is_none() {
        context.events.note(run, Teller::TaskRun, "Started", "");
    }
    let runs = |condition: &Condition| condition.reason.as_deref() == Some("Running");
    if runs(after) && !before.is_some_and(runs) {
        let message = after.message.clone().unwrap_or_default();
        context.events.note(run, Teller::TaskRun, "Running", message);
    }
    if before.is_some_and(|before| before.status == after.status) {
        return;
    }
    let message = after.message.clone().unwrap_or_default();
    match after.status {
        ConditionStatus::True => context.events.note(run, Teller::TaskRun, "Succeeded", message),
        ConditionStatus::False => context.events.warn(run, Teller::TaskRun, "Failed", message),
        ConditionStatus::Unknown => {}
    }
}

fn set(status: &mut TaskRunStatus, value: ConditionStatus, reason: &str, message: &str) {
    status.conditions = vec![Condition::new("Succeeded", value).because(reason, message)];
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

/// `None` is no limit (`0s`).
fn timeout_of(run: &TaskRun) -> Option<Duration> {
    let given = run.spec.timeout.as_deref().and_then(go_duration::parse);
    Some(given.unwrap_or(DEFAULT_TIMEOUT)).filter(|timeout| !timeout.is_zero())
}

fn age(status: &TaskRunStatus) -> Duration {
    let started: Option<Timestamp> = status.start_time.as_deref().and_then(|time| time.parse().ok());
    let seconds = started.map_or(0, |started| Timestamp::now().as_second() - started.as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn timed_out(run: &TaskRun, status: &TaskRunStatus) -> bool {
    timeout_of(run).is_some_and(|timeout| age(status) >= timeout)
}

fn time_left(run: &TaskRun, status: &TaskRunStatus) -> Duration {
    timeout_of(run)
        .map_or(DEFAULT_TIMEOUT, |timeout| timeout.saturating_sub(age(status)) + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken() {
        let mut run = TaskRun::default();
        run.metadata.name = Some("a".into());
        run.metadata.uid = Some("1".into());
        let pod = |uid: &str, kind: &str| {
            let owner = serde_json::json!({"apiVersion": "v1", "kind": kind, "name": "a", "uid": uid});
            let metadata = serde_json::json!({"name": "a-pod", "ownerReferences": [owner]});
            serde_json::from_value::<Pod>(serde_json::json!({"metadata": metadata})).expect("a pod")
        };
        assert!(matches!(taken(&run, Some(pod("1", "TaskRun"))), Taken::Own(_)));
        assert!(matches!(taken(&run, Some(pod("0", "TaskRun"))), Taken::Leaving));
        assert!(matches!(taken(&run, Some(pod("0", "Job"))), Taken::Foreign));
        assert!(matches!(taken(&run, None), Taken::Leaving));
    }
}
