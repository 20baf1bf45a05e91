//! A TaskRun comes into being: with its Task inline or, where the operator of the target's Tekton forbids that
//! (`disable-inline-spec`), beside a Task that is removed with it.

use anyhow::{Context, Result};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tm_resources::tekton::{Task, TaskRef, TaskRun};

use crate::{commands::Session, target::Target};

/// What Tekton's webhook says of a TaskRun with its Task inline where only references are allowed (`ErrDisallowedFields`).
const REFUSED: &str = "must not set the field(s): spec.taskSpec";

/// Creates `run`, whose Task is inline.
///
/// # Errors
/// What the API server refuses. Then nothing is left.
pub(crate) async fn create(session: &Session, target: &Target, run: &TaskRun) -> Result<TaskRun> {
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    match runs.create(&PostParams::default(), run).await {
        Err(kube::Error::Api(status)) if status.message.contains(REFUSED) => {
            create_beside(session, target, run).await
        }
        created => created.context("failed to create the TaskRun"),
    }
}

/// The Task first, as a run whose Task is missing fails at once; then the run, which owns the Task.
async fn create_beside(session: &Session, target: &Target, run: &TaskRun) -> Result<TaskRun> {
    let tasks: Api<Task> = Api::namespaced(target.client.clone(), &target.namespace);
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let task = task_of(run).context("the TaskRun has no Task")?;
    let task = tasks.create(&PostParams::default(), &task).await.context(
        "failed to create a Task for the TaskRun, as Tekton refuses TaskRuns with their Task inside (disable-inline-spec)",
    )?;
    let name = task.name_any();
    let made = async {
        let created = runs.create(&PostParams::default(), &referring(run, &name)).await;
        let created = created.context("failed to create the TaskRun")?;
        let owner = json!({"metadata": {"ownerReferences": [created.owner_ref(&())]}});
        let owned = tasks.patch(&name, &PatchParams::default(), &Patch::Merge(owner)).await;
        if let Err(error) = owned {
            session.printer.warning(&format!("Task {name} stays when the build is removed: {error}"));
        }
        Ok(created)
    };
    let made = made.await;
    if made.is_err() {
        let _ = tasks.delete(&name, &DeleteParams::default()).await;
    }
    made
}

/// The inline Task as an object of its own, with the run's labels.
fn task_of(run: &TaskRun) -> Option<Task> {
    let metadata = ObjectMeta {
        generate_name: run.metadata.generate_name.clone(),
        labels: run.metadata.labels.clone(),
        ..ObjectMeta::default()
    };
    Some(Task { metadata, spec: run.spec.task_spec.clone()? })
}

/// The run with a reference in the place of its inline Task.
fn referring(run: &TaskRun, task: &str) -> TaskRun {
    let mut run = run.clone();
    run.spec.task_spec = None;
    run.spec.task_ref =
        Some(TaskRef { name: Some(task.into()), kind: Some("Task".into()), ..TaskRef::default() });
    run
}

#[cfg(test)]
mod tests {
    use tm_resources::tekton::{Step, TaskRunSpec, TaskSpec};

    use super::*;

    #[test]
    fn the_task_moves_out_of_the_run() {
        let steps = vec![Step { name: "one".into(), ..Step::default() }];
        let spec = TaskRunSpec {
            task_spec: Some(TaskSpec { steps, ..TaskSpec::default() }),
            timeout: Some("60s".into()),
            ..TaskRunSpec::default()
        };
        let metadata = ObjectMeta { generate_name: Some("hello-".into()), ..ObjectMeta::default() };
        let run = TaskRun { metadata, spec, status: None };
        let task = task_of(&run).expect("it is inline");
        assert_eq!(task.metadata.generate_name.as_deref(), Some("hello-"));
        assert_eq!(Some(&task.spec), run.spec.task_spec.as_ref());
        let run = referring(&run, "hello-abcde");
        assert_eq!(run.spec.task_spec, None);
        assert_eq!(run.spec.timeout.as_deref(), Some("60s"));
        assert_eq!(task_of(&run), None);
    }
}
