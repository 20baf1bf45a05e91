//! The registry as pods and nodes see it: a TaskRun pushes a small image, a step of another one is started from it.
//!
//! Both are removed afterwards, also after Ctrl-C. The image, `tm-doctor:check`, stays; its one layer is the shim that
//! functions get anyway.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, LogParams, ObjectMeta},
};
use tm_resources::{
    condition::{Verdict, verdict},
    tekton::{Step, TaskResult, TaskRun, TaskRunSpec, TaskRunStatus, TaskSpec},
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
/// Pushes, then pulls.
pub(super) async fn check(
    report: &mut Report,
    target: &Target,
    session: &Session,
    limit: Duration,
) -> Result<()> {
    let found = session.interrupt.guard(destination(&session.global, target, IMAGE.0, IMAGE.1)).await;
    let place = match found {
        Ok(place) => place,
        Err(error) if session.interrupt.is_pressed() => return Err(error),
        Err(error) => {
            report.failed("registry", &chain(&error), next_step(&error));
            return Ok(());
        }
    };
    let deadline = Instant::now() + limit;
    let settings = published::settings(&target.client).await?;
    let run = pushing(&place, &builder_image(&settings), session.global.registry_skip_tls, limit);
    let image = match finish(target, session, &run, "Pushing an image from a pod", limit).await {
        Ok(status) => {
            report.ok("push", &format!("a pod pushed {}", place.push));
            format!("{}@{}", place.reference, status.result("IMAGE_DIGEST").unwrap_or_default())
        }
        Err(error) if session.interrupt.is_pressed() => return Err(error),
        Err(error) => {
            report.failed("push", &chain(&error), next_step(&error));
            return Ok(());
        }
    };
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(10));
    let run = pulling(&image, left);
    match finish(target, session, &run, "Starting a pod from that image", left).await {
        Ok(_) => report.ok("pull", &format!("a node pulled {}", place.reference)),
        Err(error) if session.interrupt.is_pressed() => return Err(error),
        Err(error) => report.failed("pull", &chain(&error), next_step(&error)),
    }
    Ok(())
}

/// Runs a TaskRun to its end and removes it.
async fn finish(
    target: &Target,
    session: &Session,
    run: &TaskRun,
    title: &'static str,
    limit: Duration,
) -> Result<TaskRunStatus> {
    let runs: Api<TaskRun> = Api::namespaced(target.client.clone(), &target.namespace);
    let created = create(session, target, run).await?;
    let name = created.name_any();
    let step = session.printer.step(title);
    let what = format!("the TaskRun {name}");
    let ended = until(runs.clone(), &name, limit, &what, |run| {
        let Some(run) = run else { bail!("the TaskRun was deleted") };
        let status = run.status.unwrap_or_default();
        Ok(match verdict(&status.conditions, "Succeeded", None, None) {
            Verdict::Waiting(state) => {
                step.state(&state);
                Look::Waiting(state)
            }
            Verdict::Ready => Look::Done(Ok(status)),
            Verdict::Failed { reason, message } => Look::Done(Err((format!("{reason}: {message}"), status))),
        })
    });
    let ended = session.interrupt.guard(ended).await;
    let result = match ended {
        Ok(Ok(status)) => Ok(status),
        Ok(Err((why, status))) => Err(failure(target, why, &status).await),
        Err(error) => Err(error),
    };
    remove(&runs, &name).await;
    drop(step);
    result
}

/// Removes what was made, if it can be done soon.
async fn remove(runs: &Api<TaskRun>, name: &str) {
    let _ = tokio::time::timeout(CLEAN_LIMIT, runs.delete(name, &DeleteParams::background())).await;
}

/// Why it failed, after the last words of its step.
async fn failure(target: &Target, why: String, status: &TaskRunStatus) -> anyhow::Error {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let pod = status.pod_name.as_deref().unwrap_or_default();
    let params = LogParams {
        container: Some(format!("step-{PUSHING_STEP}")),
        tail_lines: Some(5),
        ..LogParams::default()
    };
    let log = pods.logs(pod, &params).await.unwrap_or_default();
    let said: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let why = anyhow::anyhow!(why);
    if said.is_empty() { why } else { why.context(said.join("; ")) }
}

fn pushing(place: &Destination, builder: &str, insecure: bool, limit: Duration) -> TaskRun {
    let mut args = vec![
        "assemble".to_owned(),
        "--base=tm.local/host".to_owned(),
        format!("--image={}", place.push),
        "--result-digest=$(results.IMAGE_DIGEST.path)".to_owned(),
    ];
    if insecure {
        args.push("--insecure".to_owned());
    }
    let mut task = task(builder, "build-tasks", args);
    task.results.push(TaskResult { name: "IMAGE_DIGEST".into(), ..TaskResult::default() });
    if let Some(secret) = &place.secret {
        mount_secret(&mut task, secret);
    }
    task_run(task, limit)
}

/// A step of a build is what a user may have started; more rights, as for a pod of one's own, nobody needs.
fn pulling(image: &str, limit: Duration) -> TaskRun {
    let mut task = task(image, SHIM, vec!["--version".to_owned()]);
    // The image's own, /var/task, holds code, and there is none.
    task.steps[0].working_dir = Some("/".into());
    task_run(task, limit)
}

fn task(image: &str, program: &str, args: Vec<String>) -> TaskSpec {
    let step = Step {
        name: PUSHING_STEP.into(),
        image: Some(image.to_owned()),
        command: vec![program.to_owned()],
        args,
        security_context: Some(confined()),
        ..Step::default()
    };
    TaskSpec { steps: vec![step], ..TaskSpec::default() }
}

fn task_run(task: TaskSpec, limit: Duration) -> TaskRun {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_to_the_step_that_pushes() {
        let place = Destination {
            push: "r.io/u/tm-doctor:check".into(),
            reference: "r.io/u/tm-doctor".into(),
            secret: Some("s".into()),
        };
        let run = pushing(&place, "b", false, Duration::from_secs(60));
        let task = run.spec.task_spec.expect("it is inline");
        assert_eq!(task.steps[0].volume_mounts.len(), 1);
        assert!(task.steps[0].args.contains(&"--image=r.io/u/tm-doctor:check".to_owned()));
        let run = pulling("r.io/u/tm-doctor@sha256:0", Duration::from_secs(60));
        let task = run.spec.task_spec.expect("it is inline");
        assert!(task.steps[0].volume_mounts.is_empty(), "nodes have credentials of their own");
    }
}
