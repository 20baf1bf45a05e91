//! Tests that change the cluster for everybody. They run alone, after the others, and put back what they changed.

use std::panic::{AssertUnwindSafe, resume_unwind};

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use tm_testkit::machine::{Machine, repository, wait_for};

use super::{LIMIT, failed_with};
use crate::{
    support::{get, nothing_left, shell_function},
    target,
};

/// Runs `work` and puts things back, also when it fails or panics.
async fn and_back(
    work: impl Future<Output = Result<()>>,
    back: impl Future<Output = Result<()>>,
) -> Result<()> {
    let judged = AssertUnwindSafe(work).catch_unwind().await;
    let put_back = back.await;
    judged.unwrap_or_else(|panic| resume_unwind(panic))?;
    put_back
}

/// Sets one of Tekton's feature flags; what it was.
async fn set_flag(machine: &Machine, name: &str, value: &str) -> Result<String> {
    let flags =
        machine.kubectl(["-n", "tekton-pipelines", "get", "cm", "feature-flags", "-o", "json"]).await?;
    let flags: serde_json::Value = serde_json::from_str(&flags)?;
    let before = flags["data"][name].as_str().unwrap_or_default().to_owned();
    let patch = serde_json::json!({"data": {name: value}}).to_string();
    let args =
        ["-n", "tekton-pipelines", "patch", "configmap", "feature-flags", "--type=merge", "-p", &patch];
    machine.kubectl(args).await?;
    Ok(before)
}

/// Builds and functions comply with Pod Security `restricted`, once Tekton's own containers do.
#[tokio::test]
async fn a_restricted_namespace() -> Result<()> {
    let machine = target().await;
    let label = ["label", "namespace", machine.namespace(), "pod-security.kubernetes.io/enforce=restricted"];
    machine.kubectl(label).await?;
    let flag = "set-security-context";
    let before = set_flag(&machine, flag, "false").await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy = ["deploy", "service", "hello", "-f", &folder, "--wait"];
    let work = async {
        let looked = machine.tm(["doctor", "--no-pods"]).await;
        ensure!(looked.code == 1 && looked.stdout.contains("set-security-context"), "{looked:?}");
        wait_for("Tekton to see the flag", LIMIT, async || {
            failed_with(&machine.tm(deploy).await, &["violates PodSecurity"])
        })
        .await?;
        nothing_left(&machine).await;
        set_flag(&machine, flag, "true").await?;
        wait_for("Tekton to see the flag", LIMIT, async || {
            let ran = machine.tm(deploy).await;
            ensure!(ran.code == 0, "{ran:?}");
            Ok(())
        })
        .await?;
        ensure!(machine.call("hello", "{}").await?.body == "1");
        let revision = get(&machine, "revision/hello-00001").await?;
        ensure!(revision["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] == true, "{revision}");
        Ok(())
    };
    and_back(work, async { set_flag(&machine, flag, &before).await.map(drop) }).await
}

/// Where Tekton refuses inline Tasks, a build has a Task beside it, which goes with it.
#[tokio::test]
async fn inline_tasks_forbidden() -> Result<()> {
    let machine = target().await;
    let flag = "disable-inline-spec";
    let before = set_flag(&machine, flag, "pipeline,taskrun,pipelinerun").await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let work = async {
        wait_for("Tekton to see the flag", LIMIT, async || {
            let ran = machine.tm(["deploy", "service", "hello", "-f", &folder, "--wait"]).await;
            ensure!(ran.code == 0, "{ran:?}");
            let runs: serde_json::Value =
                serde_json::from_str(&machine.kubectl(["get", "taskruns", "-o", "json"]).await?)?;
            let names: Vec<_> = runs["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|run| &run["spec"]["taskRef"]["name"])
                .collect();
            ensure!(
                names.len() == 1 && names[0].is_string(),
                "the one run that is kept has its Task inline: {runs}"
            );
            Ok(())
        })
        .await?;
        ensure!(machine.call("hello", "{}").await?.body == "1");
        let looked = machine.tm(["doctor"]).await;
        ensure!(looked.code == 0, "a push from a pod works too: {looked:?}");
        machine.tm_ok(["delete", "service", "hello"]).await?;
        wait_for("the Task to go with its build", LIMIT, async || {
            let left = machine.kubectl(["get", "tasks,taskruns", "-o", "name"]).await?;
            ensure!(left.trim().is_empty(), "{left}");
            Ok(())
        })
        .await
    };
    and_back(work, async { set_flag(&machine, flag, &before).await.map(drop) }).await
}

/// With the limit raised as docs/cluster.md says, and no further, a function may take as long as on AWS.
#[tokio::test]
async fn time_outs_of_aws() -> Result<()> {
    let machine = target().await;
    let page = fs_err::read_to_string(repository().join("docs/cluster.md"))?;
    let documented =
        page.split_once("config-defaults --type=merge -p '").and_then(|(_, rest)| rest.split_once('\''));
    let (patch, _) = documented.context("the page says how to raise the limit")?;
    let set = async |patch: &str| {
        let args =
            ["-n", "knative-serving", "patch", "configmap", "config-defaults", "--type=merge", "-p", patch];
        machine.kubectl(args).await.map(drop)
    };
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let looked = machine.tm(["doctor", "--no-pods"]).await;
    ensure!(looked.stdout.contains("up to 590 s; on AWS it is 900"), "{looked:?}");
    let work = async {
        set(patch).await?;
        wait_for("the raised limit", LIMIT, async || {
            let ran =
                machine.tm(["deploy", "service", "hello", "-f", &folder, "--timeout", "900", "--wait"]).await;
            ensure!(ran.code == 0, "{ran:?}");
            Ok(())
        })
        .await?;
        ensure!(machine.call("hello", "{}").await?.body == "1");
        let pod =
            machine.kubectl(["get", "pods", "-l", "serving.knative.dev/service=hello", "-o", "json"]).await?;
        let pod: serde_json::Value = serde_json::from_str(&pod)?;
        let grace = &pod["items"][0]["spec"]["terminationGracePeriodSeconds"];
        ensure!(*grace == 910, "Knative gives the pod the function's time: {grace}");
        let looked = machine.tm_ok(["doctor", "--no-pods"]).await?;
        ensure!(looked.contains("time-outs    up to 900 s"), "{looked}");
        Ok(())
    };
    and_back(work, set(r#"{"data":{"max-revision-timeout-seconds":null}}"#)).await
}

/// Controllers without a pod are named.
#[tokio::test]
async fn a_controller_that_is_dead() -> Result<()> {
    let machine = target().await;
    let scale = async |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        machine
            .kubectl(["-n", "knative-serving", "scale", "deployment", "autoscaler", &replicas])
            .await
            .map(drop)
    };
    let work = async {
        scale("0").await?;
        wait_for("the doctor to see it", LIMIT, async || {
            let looked = machine.tm(["doctor", "--no-pods"]).await;
            let line = "FAILED controllers  Deployment knative-serving/autoscaler has no pod that is ready";
            ensure!(looked.code == 1 && looked.stdout.contains(line), "{looked:?}");
            Ok(())
        })
        .await
    };
    and_back(work, scale("1")).await?;
    wait_for("it to live again", LIMIT, async || machine.tm_ok(["doctor", "--no-pods"]).await.map(drop)).await
}
