//! The registry as pods and nodes see it: a TaskRun pushes a small image, a pod is started from it.
//!
//! Both are removed afterwards, also after Ctrl-C. The image, `tm-doctor:check`, stays; its one layer is the shim that
//! functions get anyway.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use tm_resources::{
    condition::{Verdict, verdict},
    tekton::{Step, TaskResult, TaskRun, TaskRunSpec, TaskSpec},
};
use tokio::time::Instant;

use super::report::Report;
use crate::{
    build::{PUSHING_STEP, builder_image, confined, create, mount_secret},
    commands::Session,
    error::{chain, next_step},
    registry::{Destination, destination},
    target::{Target, published},
    wait::{Look, until},
};

/// Name and tag of the image.
const IMAGE: (&str, &str) = ("tm-doctor", "check");
/// Where the shim is in it.
const SHIM: &str = "/usr/local/bin/runtime-shim";
/// Longest wait for the removal of what was made.
const CLEAN_LIMIT: Duration = Duration::from_secs(10);
/// Why a container that waits will not start by waiting longer.
const HOPELESS: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// Pushes, then pulls.
pub(super) async fn check(
    report: &mut Report,
    target: &Target,
    session: &Session,
    limit: Duration,
) -> Result<()> {
    let place = session.interrupt.guard(destination(&session.global, target, IMAGE.0, IMAGE.1)).await?;
    let deadline = Instant::now() + limit;
    let image = match push(target, session, &place, limit).await {
        Ok(digest) => {
            report.ok("push", &format!("a pod pushed {}", place.push));
            format!("{}@{digest}", place.reference)
        }
        Err(error) if session.interrupt.is_pressed() => return Err(error),
        Err(error) => {
            report.failed("push", &chain(&error), next_step(&error));
            return Ok(());
        }
    };
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(10));
    match pull(target, session, &image, left).await {
        Ok(()) => report.ok("pull", &format!("a node pulled {}", place.reference)),
        Err(error) if session.interrupt.is_pressed() => return Err(error),
        Err(error) => report.failed("pull", &chain(&error), next_step(&error)),
    }
    Ok(())
}

/// Runs the TaskRun; the digest it reports.
async fn push(target: &Target, session: &Session, place: &Destination, limit: Duration) -> Result<String> {
    let settings = published::settings(&target.client).await?;
    let run = task_run(place, &builder_image(&settings), session.global.registry_skip_tls, limit);
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let created = create(session, target, &run).await?;
    let name = created.name_any();
    let step = session.printer.step("Pushing an image from a pod");
    let ended = until(runs.clone(), &name, limit, "a TaskRun that pushes an image", |run| {
        let Some(run) = run else { bail!("the TaskRun was deleted") };
        let status = run.status.unwrap_or_default();
        Ok(match verdict(&status.conditions, "Succeeded", None, None) {
            Verdict::Waiting(state) => {
                step.state(&state);
                Look::Waiting(state)
            }
            Verdict::Ready => Look::Done(Ok(status.result("IMAGE_DIGEST").unwrap_or_default().to_owned())),
            Verdict::Failed { reason, message } => Look::Done(Err((format!("{reason}: {message}"), status))),
        })
    });
    let ended = session.interrupt.guard(ended).await;
    let result = match ended {
        Ok(Ok(digest)) => Ok(digest),
        Ok(Err((why, status))) => {
            let pod = status.pod_name.unwrap_or_default();
            Err(anyhow::anyhow!(why).context(log_of(target, &pod).await))
        }
        Err(error) => Err(error),
    };
    remove(&runs, &name, DeleteParams::background()).await;
    drop(step);
    result
}

/// Removes what was made, if it can be done soon.
async fn remove<K>(api: &Api<K>, name: &str, params: DeleteParams)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let _ = tokio::time::timeout(CLEAN_LIMIT, api.delete(name, &params)).await;
}

/// The last words of the step that pushes.
async fn log_of(target: &Target, pod: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let params = kube::api::LogParams {
        container: Some(format!("step-{PUSHING_STEP}")),
        tail_lines: Some(5),
        ..kube::api::LogParams::default()
    };
    let log = pods.logs(pod, &params).await.unwrap_or_default();
    let said: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if said.is_empty() { "the push failed".to_owned() } else { said.join("; ") }
}

fn task_run(place: &Destination, builder: &str, insecure: bool, limit: Duration) -> TaskRun {
    let mut args = vec![
        "assemble".to_owned(),
        "--base=tm.local/host".to_owned(),
        format!("--image={}", place.push),
        "--result-digest=$(results.IMAGE_DIGEST.path)".to_owned(),
    ];
    if insecure {
        args.push("--insecure".to_owned());
    }
    let step = Step {
        name: PUSHING_STEP.into(),
        image: Some(builder.to_owned()),
        command: vec!["build-tasks".into()],
        args,
        security_context: Some(confined()),
        ..Step::default()
    };
    let mut task = TaskSpec {
        steps: vec![step],
        results: vec![TaskResult { name: "IMAGE_DIGEST".into(), ..TaskResult::default() }],
        ..TaskSpec::default()
    };
    if let Some(secret) = &place.secret {
        mount_secret(&mut task, secret);
    }
    TaskRun {
        metadata: ObjectMeta { generate_name: Some("tm-doctor-".into()), ..ObjectMeta::default() },
        spec: TaskRunSpec {
            task_spec: Some(task),
            timeout: Some(format!("{}s", limit.as_secs().max(1))),
            ..TaskRunSpec::default()
        },
        status: None,
    }
}

/// Starts a pod from the image and waits until its program has ended.
async fn pull(target: &Target, session: &Session, image: &str, limit: Duration) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let created = pods.create(&PostParams::default(), &pod(image)).await.context("failed to create a pod")?;
    let name = created.name_any();
    let step = session.printer.step("Starting a pod from that image");
    let ended = until(pods.clone(), &name, limit, "a pod of the pushed image", |pod| {
        let Some(pod) = pod else { bail!("the pod was deleted") };
        look(&pod)
    });
    let ended = session.interrupt.guard(ended).await;
    remove(&pods, &name, DeleteParams::background().grace_period(0)).await;
    drop(step);
    ended
}

fn look(pod: &Pod) -> Result<Look<()>> {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    if let Some(state) = container.and_then(|container| container.state) {
        if let Some(waiting) = state.waiting {
            let reason = waiting.reason.unwrap_or_default();
            let text = format!("{reason}: {}", waiting.message.unwrap_or_default());
            if HOPELESS.contains(&reason.as_str()) {
                bail!("the node cannot start it: {text}");
            }
            return Ok(Look::Waiting(text));
        }
        if let Some(ended) = state.terminated {
            if ended.exit_code != 0 {
                bail!("its program ended with exit code {}", ended.exit_code);
            }
            return Ok(Look::Done(()));
        }
    }
    let unschedulable = status.conditions.unwrap_or_default().into_iter();
    let unschedulable =
        unschedulable.filter(|condition| condition.reason.as_deref() == Some("Unschedulable"));
    let why = unschedulable.filter_map(|condition| condition.message).next();
    Ok(Look::Waiting(why.or(status.phase).unwrap_or_default()))
}

fn pod(image: &str) -> Pod {
    let container = Container {
        name: "check".into(),
        image: Some(image.to_owned()),
        command: Some(vec![SHIM.into(), "--version".into()]),
        // The image's own, /var/task, holds code, and there is none.
        working_dir: Some("/".into()),
        security_context: Some(confined()),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta { generate_name: Some("tm-doctor-".into()), ..ObjectMeta::default() },
        spec: Some(PodSpec {
            containers: vec![container],
            restart_policy: Some("Never".into()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            ..PodSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(state: serde_json::Value) -> Pod {
        let container = json!({"name": "check", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state});
        serde_json::from_value(json!({"metadata": {}, "status": {"containerStatuses": [container]}}))
            .expect("it is a pod")
    }

    #[test]
    fn pods_that_wait_fail_and_end() {
        let waits = look(&state(json!({"waiting": {"reason": "ContainerCreating"}}))).expect("it may come");
        assert!(matches!(waits, Look::Waiting(text) if text.starts_with("ContainerCreating")));
        let error = look(&state(json!({"waiting": {"reason": "ErrImagePull", "message": "no such host"}})));
        assert!(error.is_err_and(|error| error.to_string().contains("no such host")));
        assert!(look(&state(json!({"terminated": {"exitCode": 1}}))).is_err());
        assert!(matches!(look(&state(json!({"terminated": {"exitCode": 0}}))), Ok(Look::Done(()))));
    }

    #[test]
    fn credentials_go_to_the_step_that_pushes() {
        let place = Destination {
            push: "r.io/u/tm-doctor:check".into(),
            reference: "r.io/u/tm-doctor".into(),
            secret: Some("s".into()),
        };
        let run = task_run(&place, "b", false, Duration::from_secs(60));
        let task = run.spec.task_spec.expect("it is inline");
        assert_eq!(task.steps[0].volume_mounts.len(), 1);
        assert!(task.steps[0].args.contains(&"--image=r.io/u/tm-doctor:check".to_owned()));
    }
}
