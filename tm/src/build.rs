//! A build: one TaskRun of the Task with our receiving step in front, the upload into it, its log, its result.

mod create;
mod log;
mod send;
mod taskrun;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tm_resources::{
    condition::{Verdict, verdict},
    tekton::{TaskRun, TaskRunStatus},
};

use send::Sent;

pub(crate) use create::create;
pub(crate) use taskrun::{PUSHING_STEP, Plan, RECEIVER, builder_image, confined, mount_secret, object};

use crate::{
    commands::Session,
    error::{HintExt, Interrupted, InterruptedExt},
    registry::Destination,
    runtime::Runtime,
    settings::ServiceSettings,
    source::Archive,
    target::{Target, published},
    upload::PodLost,
    wait::{Look, TimedOut, until},
};

/// Tekton's reason for a step whose image cannot be had.
const IMAGE_PULL_FAILED: &str = "TaskRunImagePullFailed";
/// Its reason for a pod that its node threw out.
const EVICTED: &str = "PodEvicted";
const ABOUT_EVICTION: &str = "a node evicts pods that take more of its disk or memory than it has or they may: see the limits of the \
    namespace and the node's conditions, or leave files out with .tmignore";
/// How long a cancelled run is waited for.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// A pushed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    /// The reference for the Service, by digest.
    pub(crate) image: String,
}

/// Everything that is known before the build begins.
pub(crate) async fn plan(
    session: &Session,
    target: &Target,
    settings: &ServiceSettings,
    runtime: Runtime,
    destination: Destination,
) -> Result<Plan> {
    let config = published::settings(&target.client).await?;
    for name in settings.build_arguments.keys() {
        if !runtime.task.spec.params.iter().any(|param| &param.name == name) {
            session.printer.warning(&format!("runtime `{}` has no parameter `{name}`", runtime.name));
        }
    }
    Plan::new(settings, &target.namespace, runtime, destination, &config, session.global.registry_skip_tls)
}

/// Runs the build, and once more when its pod is lost before it has the source, unless the same would happen to the next one.
/// Whatever ends it early, the run is cancelled and removed.
pub(crate) async fn run(session: &Session, target: &Target, plan: &Plan, archive: &Archive) -> Result<Built> {
    match run_once(session, target, plan, archive).await {
        Err(error) => match error.downcast_ref::<PodLost>() {
            Some(lost) if lost.evicted => Err(error).hint(ABOUT_EVICTION),
            Some(_) => {
                session.printer.warning(&format!("{error:#}; building once more"));
                run_once(session, target, plan, archive).await
            }
            None => Err(error),
        },
        done => done,
    }
}

async fn run_once(session: &Session, target: &Target, plan: &Plan, archive: &Archive) -> Result<Built> {
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let created = create(session, target, &object(plan)).await?;
    let name = created.name_any();
    session.printer.debug(&format!("created TaskRun {name}"));
    let result = session.interrupt.guard(follow(session, target, plan, &created, archive)).await;
    match result {
        Ok(status) => image_of(plan, &status),
        Err(error) => {
            let removed = remove(&runs, &name).await;
            if !removed && !error.is::<Interrupted>() {
                session.printer.warning(&left(&name, removed));
            }
            Err(error).interrupted_leaves(|| left(&name, removed))
        }
    }
}

/// What an interrupted build leaves.
fn left(name: &str, removed: bool) -> String {
    if removed {
        return "the build was cancelled and removed, no service was created or changed".into();
    }
    format!("the build could not be cancelled: `tm delete taskrun {name}` removes it")
}

/// Uploads, shows the log, waits for the end.
async fn follow(
    session: &Session,
    target: &Target,
    plan: &Plan,
    created: &TaskRun,
    archive: &Archive,
) -> Result<TaskRunStatus> {
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let name = created.name_any();
    let mut shown = log::BuildLog::new(session.printer.clone(), pods.clone());
    let pod = match send::send(session, target, plan, created, archive).await? {
        Sent::To(pod) => pod,
        Sent::Failed(failed) => return hinted(&failed.why, shown.explain(&failed.status, &failed.why).await),
    };

    let step = session.printer.step(format!("Building {} with runtime {}", plan.service, plan.runtime));
    let what = format!("the build {name}");
    let ended = until(runs, &name, plan.timeout, &what, |run| {
        let Some(run) = run else { bail!("the TaskRun was deleted") };
        let status = run.status.unwrap_or_default();
        step.state(&running_text(&status));
        match verdict(&status.conditions, "Succeeded", None, None) {
            Verdict::Waiting(state) => Ok(Look::Waiting(state)),
            Verdict::Ready | Verdict::Failed { .. } => Ok(Look::Done(status)),
        }
    });
    let status = in_time(shown.while_running(&pod, &plan.step_containers(), &step, ended).await)?;
    match failure(&status) {
        None => {
            step.done();
            Ok(status)
        }
        Some(failure) => {
            drop(step);
            hinted(&failure, shown.explain(&status, &failure).await)
        }
    }
}

/// Adds what to do about an image that the build cannot have, or a node that has no room: it says nothing about the function.
fn hinted<T>(failure: &str, error: anyhow::Error) -> Result<T> {
    if failure.starts_with(EVICTED) {
        return Err(error).hint(ABOUT_EVICTION);
    }
    if !failure.starts_with(IMAGE_PULL_FAILED) {
        return Err(error);
    }
    Err(error).hint(
        "the target must be able to pull a build's images; name others with --build-argument BUILDER_IMAGE=…, BUILD_IMAGE=… or \
         BASE_IMAGE=…, for all builds in ConfigMap kube-public/tm-config, or start the engine with --docker-base-image",
    )
}

/// Adds what to do about a build that is too slow.
fn in_time<T>(result: Result<T>) -> Result<T> {
    match result {
        Err(error) if error.is::<TimedOut>() => {
            Err(error).hint("--debug shows the build's log while it runs; --build-timeout gives it more time")
        }
        result => result,
    }
}

fn failure(status: &TaskRunStatus) -> Option<String> {
    match verdict(&status.conditions, "Succeeded", None, None) {
        Verdict::Failed { reason, message } => {
            Some(if message.is_empty() { reason } else { format!("{reason}: {message}") })
        }
        Verdict::Ready | Verdict::Waiting(_) => None,
    }
}

/// What keeps the pod from running, as far as the status says.
fn waiting_text(status: &TaskRunStatus) -> String {
    let reason = status.conditions.first().map(|condition| condition.text()).unwrap_or_default();
    let container = status.steps.iter().find_map(|step| step.waiting.as_ref()?.message.clone());
    container.unwrap_or(reason)
}

fn running_text(status: &TaskRunStatus) -> String {
    let running = status.steps.iter().find(|step| step.running.is_some());
    running.map(|step| step.name.clone()).unwrap_or_default()
}

fn image_of(plan: &Plan, status: &TaskRunStatus) -> Result<Built> {
    match status.result("IMAGE_DIGEST") {
        Some(digest) => Ok(Built { image: format!("{}@{}", plan.destination.reference, digest.trim()) }),
        // A Task of somebody else's that reports nothing: the tag that was pushed.
        None => {
            let tag = plan.destination.push.rsplit_once(':').map(|(_, tag)| tag).unwrap_or("latest");
            Ok(Built { image: format!("{}:{tag}", plan.destination.reference) })
        }
    }
}

/// Cancels and deletes a run; the pod goes with it. Says whether the run is gone.
async fn remove(runs: &Api<TaskRun>, name: &str) -> bool {
    let patch = Patch::Merge(json!({"spec": {"status": "TaskRunCancelled"}}));
    let work = async {
        let _ = runs.patch(name, &PatchParams::default(), &patch).await;
        runs.delete(name, &DeleteParams::background()).await.is_ok()
    };
    tokio::time::timeout(CANCEL_LIMIT, work).await.unwrap_or(false)
}

/// Hangs the run on the Service, so that deleting the Service removes it, and removes older runs of the same service.
pub(crate) async fn adopt(target: &Target, plan: &Plan, owner: serde_json::Value) -> Result<()> {
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let selector = format!("{}={}", tm_resources::labels::tm::SERVICE, plan.service);
    let listed = runs.list(&kube::api::ListParams::default().labels(&selector)).await?;
    let mut done: Vec<_> = listed.items.into_iter().collect();
    done.sort_by_key(|run| run.creation_timestamp().map(|time| time.0));
    let newest = done.pop();
    for old in done.iter().filter(|run| finished(run)) {
        let _ = runs.delete(&old.name_any(), &DeleteParams::background()).await;
    }
    if let Some(run) = newest {
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
        runs.patch(&run.name_any(), &PatchParams::default(), &patch)
            .await
            .context("failed to hang the TaskRun on its Service")
            .hint("the service is deployed; the TaskRun stays when it is deleted")?;
    }
    Ok(())
}

fn finished(run: &TaskRun) -> bool {
    let conditions = run.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    !matches!(verdict(conditions, "Succeeded", None, None), Verdict::Waiting(_))
}
