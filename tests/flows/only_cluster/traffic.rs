//! Requests on a cluster: from zero, in shares, from sources, and for a long time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use tm_testkit::machine::wait_for;

use super::{LIMIT, failed_with};
use crate::{
    support::{apply, deploy, get, reply, shell_function},
    target,
};

/// Requests of the split, and how many at a time.
const REQUESTS: usize = 1000;
const AT_ONCE: usize = 8;

#[tokio::test]
async fn to_zero_and_back_through_the_activator() -> Result<()> {
    let machine = target().await;
    let annotations = ["-a", "autoscaling.knative.dev/window=6s"];
    deploy(&machine, "idle", "echo awake", &annotations).await;
    ensure!(reply(&machine, "idle").await == "awake");
    let pods = ["get", "pods", "-l", "serving.knative.dev/service=idle", "-o", "name"];
    wait_for("the last pod to go", LIMIT * 2, async || {
        let left = machine.kubectl(pods).await?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
    .await?;
    ensure!(reply(&machine, "idle").await == "awake");
    Ok(())
}

#[tokio::test]
async fn half_and_half() -> Result<()> {
    let machine = target().await;
    deploy(&machine, "split", "echo 1", &[]).await;
    deploy(&machine, "split", "echo 2", &[]).await;
    let shares = r#"{"spec":{"traffic":[{"revisionName":"split-00001","percent":50},{"revisionName":"split-00002","percent":50}]}}"#;
    machine.kubectl(["patch", "ksvc", "split", "--type=merge", "-p", shares]).await?;
    machine.kubectl(["wait", "ksvc/split", "--for=condition=Ready", "--timeout=60s"]).await?;
    wait_for("both revisions to answer", LIMIT, async || {
        let bodies: Vec<String> = stream::iter(0..20).then(|_| reply(&machine, "split")).collect().await;
        ensure!(bodies.contains(&"1".to_owned()) && bodies.contains(&"2".to_owned()), "{bodies:?}");
        Ok(())
    })
    .await?;
    let answers: Vec<String> = stream::iter(0..REQUESTS)
        .map(|_| async {
            let answer = machine.call("split", "{}").await?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(answer.body)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let first = answers.iter().filter(|body| *body == "1").count();
    let second = answers.iter().filter(|body| *body == "2").count();
    ensure!(first + second == REQUESTS, "other answers came: {first} + {second}");
    // Six standard deviations of a fair coin thrown 1000 times are 95.
    ensure!(first.abs_diff(REQUESTS / 2) < 95, "{first} to {second}");
    Ok(())
}

#[tokio::test]
async fn a_schedule_calls_a_function() -> Result<()> {
    let machine = target().await;
    deploy(&machine, "clock", r#"echo "$event" >&2; echo 1"#, &[]).await;
    apply(
        &machine,
        "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: minute}\nspec:\n  schedule: \"* * * * *\"\n  \
         contentType: application/json\n  data: '{\"tick\": \"from-ping\"}'\n  sink:\n    ref: {apiVersion: \
         serving.knative.dev/v1, kind: Service, name: clock}\n",
    )
    .await?;
    wait_for("the schedule's event in the function's log", LIMIT * 2, async || {
        let log = machine.tm_ok(["logs", "clock"]).await?;
        ensure!(log.contains("from-ping"), "{log}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn longer_than_the_operator_allows() -> Result<()> {
    let machine = target().await;
    let folder = shell_function(&machine, "slow", "sleep 12; echo slow").display().to_string();
    let long = ["deploy", "service", "slow", "-f", &folder, "--timeout", "900", "--wait"];
    let ran = machine.tm(long).await;
    failed_with(&ran, &["timeoutSeconds", "hint:", "max-revision-timeout-seconds"])?;
    let services = machine.tm(["get", "services"]).await;
    ensure!(services.stderr.contains("No services found"), "{services:?}");
    // What is allowed is kept: the time-out reaches the shim and the queue.
    machine.tm_ok(["deploy", "service", "slow", "-f", &folder, "--timeout", "15", "--wait"]).await?;
    let service = get(&machine, "ksvc/slow").await?;
    let seconds = service["spec"]["template"]["spec"]["timeoutSeconds"].as_u64().context("a number")?;
    ensure!(seconds > 15, "the target waits longer than the function may take: {seconds}");
    let begun = tokio::time::Instant::now();
    let answer = machine.call("slow", "{}").await?;
    ensure!(answer.body == "slow" && begun.elapsed() > Duration::from_secs(11), "{answer:?}");
    Ok(())
}
