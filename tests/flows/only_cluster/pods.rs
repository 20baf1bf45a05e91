//! Build and function pods that cannot start, or do not live.

use anyhow::{Result, ensure};
use tm_testkit::machine::wait_for;

use super::{LIMIT, Running, failed_with, large_function};
use crate::{
    support::{apply, get, nothing_left, shell_function},
    target,
};

/// Deploys a shell function with more arguments; the function is never ready for what these tests do to it.
async fn deploy(machine: &tm_testkit::machine::Machine, extra: &[&str]) -> tm_testkit::machine::Ran {
    let folder = shell_function(machine, "hello", "echo 1").display().to_string();
    let mut args = vec!["deploy", "service", "hello", "-f", &folder, "--wait"];
    args.extend(extra);
    machine.tm(args).await
}

#[tokio::test]
async fn a_pod_that_dies_during_the_upload_is_replaced() -> Result<()> {
    let machine = target().await;
    let folder = large_function(&machine, "large", LARGE)?;
    let mut tm = Running::of(machine.spawn(["deploy", "service", "large", "-f", &folder, "--wait"])?)?;
    tm.until("Uploading the source").await?;
    let delete = "delete pods -l cli.triggermesh.io/service=large --wait=false";
    let deleted = machine.kubectl(delete.split(' ')).await?;
    ensure!(deleted.contains("deleted"), "{deleted}");
    tm.until("was lost during the upload").await?;
    let ran = tm.ended().await?;
    ensure!(ran.code == 0, "{ran:?}");
    ensure!(machine.call("large", "{}").await?.body == "large");
    let runs = machine.tm_ok(["get", "taskruns", "-o", "name"]).await?;
    ensure!(runs.lines().count() == 1, "the broken run is removed: {runs}");
    Ok(())
}

#[tokio::test]
async fn images_that_cannot_be_pulled() -> Result<()> {
    let machine = target().await;
    let builder = super::setting(&machine, "BUILDER_IMAGE").await?;
    let host = builder.split('/').next().unwrap_or_default().to_owned();
    let missing = format!("{host}/nobody/nothing:1");
    let ran = deploy(&machine, &["--build-argument", &format!("BUILDER_IMAGE={missing}")]).await;
    failed_with(&ran, &["TaskRunImagePullFailed", &missing])?;
    nothing_left(&machine).await;
    let ran = machine.tm(["deploy", "service", "image", "-f", &missing, "--wait"]).await;
    failed_with(&ran, &["Unable to fetch image", &missing, "hint:"])?;
    Ok(())
}

/// Before its controller has counted, a quota refuses with other words.
async fn counted(machine: &tm_testkit::machine::Machine) -> Result<()> {
    wait_for("the quota to be counted", LIMIT, async || {
        let quota = get(machine, "resourcequota/none").await?;
        ensure!(quota["status"]["hard"]["pods"] == "0", "{quota}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_quota_that_is_used_up() -> Result<()> {
    let machine = target().await;
    apply(
        &machine,
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: \"0\"}}\n",
    )
    .await?;
    counted(&machine).await?;
    let ran = deploy(&machine, &["--build-timeout", "30s"]).await;
    failed_with(&ran, &["exceeded quota: none", "pods=1"])?;
    nothing_left(&machine).await;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_no_node_can_take() -> Result<()> {
    let machine = target().await;
    apply(
        &machine,
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: huge}\nspec:\n  limits:\n  - type: Container\n    \
         defaultRequest: {cpu: \"500\"}\n    default: {cpu: \"500\"}\n",
    )
    .await?;
    let ran = deploy(&machine, &["--build-timeout", "20s"]).await;
    // Tekton's own time-out and ours are the same; whoever is first tells the reason.
    failed_with(&ran, &["20s", "exceeded available resources"])?;
    nothing_left(&machine).await;
    Ok(())
}

/// The same for the function's pod, of which Knative says nothing until its own deadline is over.
#[tokio::test]
async fn a_function_whose_image_cannot_be_pulled() -> Result<()> {
    let machine = target().await;
    let builder = super::setting(&machine, "BUILDER_IMAGE").await?;
    let host = builder.split('/').next().unwrap_or_default().to_owned();
    let missing = format!("{host}/nobody/nothing@sha256:{}", "0".repeat(64));
    let ran =
        machine.tm(["deploy", "service", "gone", "-f", &missing, "--wait", "--wait-timeout", "20s"]).await;
    failed_with(
        &ran,
        &["not ready within 20s", "pod gone-00001-", "ImagePull", &missing, "hint:", "--registry-secret"],
    )?;
    let deadline = "serving.knative.dev/progress-deadline=20s";
    let ran = machine.tm(["deploy", "service", "late", "-f", &missing, "--wait", "-a", deadline]).await;
    failed_with(&ran, &["did not become ready", "ImagePull"])
}

#[tokio::test]
async fn a_quota_that_leaves_nothing_for_the_function() -> Result<()> {
    let machine = target().await;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let image = machine.tm_ok(["deploy", "service", "hello", "-f", &folder, "--build-only"]).await?;
    apply(
        &machine,
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: \"0\"}}\n",
    )
    .await?;
    counted(&machine).await?;
    let ran = machine
        .tm(["deploy", "service", "hello", "-f", image.trim(), "--wait", "--wait-timeout", "60s"])
        .await;
    failed_with(&ran, &["exceeded quota: none", "pods=1"])
}

/// A node that is out of disk evicts; so does a pod's own limit, which a test can set.
#[tokio::test]
async fn a_pod_that_is_evicted_for_its_disk() -> Result<()> {
    let machine = target().await;
    apply(
        &machine,
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\nspec:\n  limits:\n  - type: Container\n    \
         default: {ephemeral-storage: 1Mi}\n    defaultRequest: {ephemeral-storage: 1Mi}\n",
    )
    .await?;
    let folder = large_function(&machine, "large", 3 * LARGE)?;
    let ran = machine.tm(["deploy", "service", "large", "-f", &folder, "--wait"]).await;
    // During the upload or, where that was fast, after it.
    failed_with(&ran, &["Evicted: Pod ephemeral", "hint: a node evicts"])?;
    ensure!(!ran.stderr.contains("once more"), "the same would happen again: {}", ran.stderr);
    nothing_left(&machine).await;
    Ok(())
}

/// MiB whose upload takes long enough for something to happen. kubelets look at disks every 10 s, so an eviction wants more.
const LARGE: u64 = 300;
