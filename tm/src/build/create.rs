//! A TaskRun comes into being: with its Task inline or, where the operator of the target's Tekton forbids that
//! (`disable-inline-spec`), beside a Task that is removed with it.

use std::hash::{BuildHasher, Hasher, RandomState};

use anyhow::{Context, Result};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams},
};
use serde_json::json;
use tm_resources::tekton::{Task, TaskRef, TaskRun};

use crate::{
    commands::Session,
    target::{Target, persist},
};

/// What Tekton's webhook says of a TaskRun with its Task inline where only references are allowed (`ErrDisallowedFields`).
const REFUSED: &str = "must not set the field(s): spec.taskSpec";

/// Longest part of a name before what makes it unique: names of pods are labels, of 63 characters.
const PREFIX: usize = 54;

/// Creates `run`, whose Task is inline.
///
/// # Errors
/// What the API server refuses. Then nothing is left.
pub(crate) async fn create(session: &Session, target: &Target, run: &TaskRun) -> Result<TaskRun> {
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let run = &named(run);
    match Box::pin(persist::create(&session.printer, &runs, run)).await {
        Err(kube::Error::Api(status)) if status.message.contains(REFUSED) => {
            Box::pin(create_beside(session, target, run)).await
        }
        created => created.context("failed to create the TaskRun"),
    }
}

/// The run with a name in the place of its prefix: what has a name can be created twice without being made twice.
fn named(run: &TaskRun) -> TaskRun {
    let mut run = run.clone();
    if let Some(prefix) = run.metadata.generate_name.take() {
        let prefix: String = prefix.chars().take(PREFIX).collect();
        // The keys of std's hash maps are random, and there is nothing to be hashed.
        let [.., a, b, c, d] = RandomState::new().build_hasher().finish().to_be_bytes();
        run.metadata.name = Some(format!("{prefix}{}", hex::encode([a, b, c, d])));
    }
    run
}

/// The Task first, as a run whose Task is missing fails at once; then the run, which owns the Task.
async fn create_beside(session: &Session, target: &Target, run: &TaskRun) -> Result<TaskRun> {
    let tasks: Api<Task> = Api::namespaced(target.client.clone(), &target.namespace);
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let task = task_of(run).context("the TaskRun has no Task")?;
    let task = persist::create(&session.printer, &tasks, &task).await.context(
        "failed to create a Task for the TaskRun, as Tekton refuses TaskRuns with their Task inside (disable-inline-spec)",
    )?;
    let name = task.name_any();
    let made = async {
        let created = persist::create(&session.printer, &runs, &referring(run, &name)).await;
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
        name: run.metadata.name.clone(),
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
        let run = named(&TaskRun { metadata, spec, status: None });
        let task = task_of(&run).expect("it is inline");
        assert!(task.metadata.name.as_ref().is_some_and(|name| name.starts_with("hello-")), "{task:?}");
        assert_eq!(task.metadata.name, run.metadata.name);
        assert_eq!(Some(&task.spec), run.spec.task_spec.as_ref());
        let run = referring(&run, "hello-abcde");
        assert_eq!(run.spec.task_spec, None);
        assert_eq!(run.spec.timeout.as_deref(), Some("60s"));
        assert_eq!(task_of(&run), None);
    }

    #[test]
    fn names_are_short_and_unlike() {
        let metadata = ObjectMeta { generate_name: Some("a".repeat(63) + "-"), ..ObjectMeta::default() };
        let run = TaskRun { metadata, spec: TaskRunSpec::default(), status: None };
        let (one, other) = (named(&run), named(&run));
        assert_eq!(one.name_any().len(), 62);
        assert_ne!(one.name_any(), other.name_any());
    }
}
