//! What happens to a function after its first deployment.

use std::time::Duration;

use anyhow::ensure;
use tm_testkit::{machine::wait_for, tools};

use crate::{
    support::{deploy, reply},
    target,
};

/// Longest wait for something a target does by itself.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_second_deployment_is_a_second_revision_and_the_first_has_a_tag() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = target().await;
    deploy(&machine, "hello", "echo 1", &[]).await;
    assert_eq!(reply(&machine, "hello").await, "1");
    deploy(&machine, "hello", "echo 2", &["--tag", "hello-00001=old", "--tag", "hello-00001=stable"]).await;
    assert_eq!(reply(&machine, "hello").await, "2");
    wait_for("the tags' routes", LIMIT, async || {
        for name in ["old-hello", "stable-hello"] {
            let body = machine.call(name, "{}").await?.body;
            ensure!(body == "1", "{name}: {body}");
        }
        Ok(())
    })
    .await
    .expect("the first revision answers under its tags");
    let revisions = machine.tm_ok(["get", "revisions"]).await.expect("it lists");
    assert!(revisions.contains("hello-00001") && revisions.contains("hello-00002"), "{revisions}");
    // The same again changes nothing.
    deploy(&machine, "hello", "echo 2", &[]).await;
    let revisions = machine.tm_ok(["get", "revisions", "-o", "name"]).await.expect("it lists");
    assert_eq!(revisions.lines().count(), 2, "{revisions}");
}

#[tokio::test]
async fn kubectl_sees_what_tm_made() {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return;
    }
    let machine = target().await;
    deploy(&machine, "hello", "echo 1; echo heard >&2", &[]).await;
    assert_eq!(reply(&machine, "hello").await, "1");
    let kubectl = async |args: &str| machine.kubectl(args.split(' ')).await.expect("kubectl succeeds");
    let table = kubectl("get ksvc,revision,taskrun,pods").await;
    assert!(table.contains("service.serving.knative.dev/hello"), "{table}");
    wait_for("one object in two hands", LIMIT, async || {
        let theirs = machine.kubectl(["get", "ksvc", "hello", "-o", "yaml"]).await?;
        let ours = machine.tm_ok(["get", "service", "hello"]).await?;
        ensure!(ours == theirs, "kubectl:\n{theirs}\ntm:\n{ours}");
        Ok(())
    })
    .await
    .expect("the same YAML");
    let pod = kubectl("get pods -l serving.knative.dev/revision=hello-00001 -o name").await;
    let log = kubectl(&format!("logs {}", pod.trim())).await;
    assert!(log.contains("START RequestId") && log.contains("heard"), "{log}");
    let said = kubectl(&format!("exec {} -- cat /var/task/bootstrap", pod.trim())).await;
    assert!(said.starts_with("#!/bin/sh"), "{said}");
    kubectl("wait ksvc/hello --for=condition=Ready --timeout=10s").await;
    kubectl("delete ksvc hello").await;
    // kubelet gives a pod up to five minutes, Knative's time-out, when its programs do not end by themselves.
    wait_for("the pods to go", LIMIT * 5, async || {
        let pods = kubectl("get pods -o name").await;
        ensure!(pods.trim().is_empty(), "{pods}");
        Ok(())
    })
    .await
    .expect("deleting the service removes everything");
}
