//! Which requests go where on the engine: shares, tags, pods, names, and how long they may take.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tm_testkit::{
    machine::{Machine, wait_for},
    tools,
};

use crate::{
    support::{deploy, get, reply},
    target,
};

/// Longest wait for something a machine does by itself.
const LIMIT: Duration = Duration::from_secs(60);

fn tools_are_there() -> bool {
    tools::find("curl").is_some() && tools::find("kubectl").is_some()
}

/// Answers of a number of requests, several at a time; each must be a 200.
async fn answers(machine: &Machine, name: &str, requests: usize, at_once: usize) -> Result<Vec<String>> {
    let all = stream::iter(0..requests).map(|_| async {
        let answer = machine.call(name, "{}").await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(answer.body)
    });
    all.buffer_unordered(at_once).try_collect().await
}

async fn patch(machine: &Machine, service: &str, change: &Value) -> Result<()> {
    let change = change.to_string();
    machine.kubectl(["patch", "ksvc", service, "--type=merge", "-p", &change]).await?;
    let name = format!("ksvc/{service}");
    machine.kubectl(["wait", &name, "--for=condition=Ready", "--timeout=60s"]).await.map(drop)
}

#[tokio::test]
async fn half_and_half_and_a_tag() -> Result<()> {
    if !tools_are_there() {
        return Ok(());
    }
    let machine = target().await;
    deploy(&machine, "split", "echo 1", &[]).await;
    deploy(&machine, "split", "echo 2", &[]).await;
    let shares = json!([
        {"revisionName": "split-00001", "percent": 50},
        {"revisionName": "split-00002", "percent": 50},
        {"revisionName": "split-00001", "percent": 0, "tag": "old"},
    ]);
    patch(&machine, "split", &json!({"spec": {"traffic": shares}})).await?;
    wait_for("both revisions to answer", LIMIT, async || {
        let seen: BTreeSet<String> = answers(&machine, "split", 10, 2).await?.into_iter().collect();
        ensure!(seen.len() == 2, "{seen:?}");
        Ok(())
    })
    .await?;
    let seen = answers(&machine, "split", 200, 6).await?;
    let ones = seen.iter().filter(|body| *body == "1").count();
    // Shares are exact over each hundred; the last requests of the wait may be part of one.
    ensure!(ones.abs_diff(100) <= 10, "{ones} of 200");
    let tagged = answers(&machine, "old-split", 20, 4).await?;
    ensure!(tagged.iter().all(|body| body == "1"), "{tagged:?}");
    let split = get(&machine, "ksvc/split").await?;
    let url = split["status"]["traffic"][2]["url"].as_str().unwrap_or_default();
    ensure!(url.starts_with("http://old-split.default.localhost:"), "{}", split["status"]);
    Ok(())
}

#[tokio::test]
async fn as_many_pods_as_the_load_wants_within_the_limits() -> Result<()> {
    if !tools_are_there() {
        return Ok(());
    }
    let machine = target().await;
    let scale = ["min-scale=2", "max-scale=3", "target=1", "target-utilization-percentage=100"];
    let scale = scale.map(|pair| format!("autoscaling.knative.dev/{pair}"));
    let flags: Vec<&str> = scale.iter().flat_map(|pair| ["-a", pair]).collect();
    deploy(&machine, "many", "sleep 1; echo 1", &flags).await;
    wait_for("the least number of pods", LIMIT, async || pods(&machine, 2).await).await?;
    let load = answers(&machine, "many", 40, 10);
    let grown = wait_for("the most pods", LIMIT, async || pods(&machine, 3).await);
    let (load, grown) = tokio::join!(load, grown);
    grown?;
    ensure!(load?.len() == 40, "all were answered");
    let revision = get(&machine, "revision/many-00001").await?;
    ensure!(revision["status"]["desiredReplicas"] == 3, "not more than the most: {}", revision["status"]);
    Ok(())
}

/// Whether the function has so many ready pods.
async fn pods(machine: &Machine, wanted: usize) -> Result<()> {
    let list = get(machine, "pods").await?;
    let is_ready = |pod: &&Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    let ready = list["items"].as_array().into_iter().flatten().filter(is_ready);
    let ready =
        ready.filter(|pod| pod["metadata"]["labels"]["serving.knative.dev/service"] == "many").count();
    ensure!(ready == wanted, "{ready} of {wanted}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_local_function_has_no_public_name() -> Result<()> {
    if !tools_are_there() {
        return Ok(());
    }
    let machine = target().await;
    deploy(&machine, "inner", "echo 1", &[]).await;
    ensure!(reply(&machine, "inner").await == "1");
    let label = |value: Value| json!({"metadata": {"labels": {"networking.knative.dev/visibility": value}}});
    patch(&machine, "inner", &label("cluster-local".into())).await?;
    wait_for("its address to change", LIMIT, async || {
        let status = get(&machine, "ksvc/inner").await?["status"].clone();
        let local = |url: &Value| {
            url.as_str().is_some_and(|url| url.starts_with("http://inner.default.svc.cluster.local"))
        };
        ensure!(local(&status["url"]) && local(&status["address"]["url"]), "{status}");
        Ok(())
    })
    .await?;
    let asked = async |host: &str| anyhow::Ok(machine.call(host, "{}").await?.status);
    for host in ["inner.default.localhost", "inner.default.example.com"] {
        assert_eq!(asked(host).await?, 404, "{host}");
    }
    for host in ["inner.default.svc.cluster.local", "inner.default.svc", "inner.default"] {
        assert_eq!(asked(host).await?, 200, "{host}");
    }
    patch(&machine, "inner", &label(Value::Null)).await?;
    wait_for("its public name", LIMIT, async || {
        let status = asked("inner.default.localhost").await?;
        ensure!(status == 200, "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_given_up() -> Result<()> {
    if !tools_are_there() {
        return Ok(());
    }
    let machine = target().await;
    deploy(&machine, "slow", "sleep 4; echo 1", &[]).await;
    for field in ["responseStartTimeoutSeconds", "idleTimeoutSeconds"] {
        let times = json!({"responseStartTimeoutSeconds": null, "idleTimeoutSeconds": null});
        let mut spec = json!({"spec": {"template": {"spec": times}}});
        spec["spec"]["template"]["spec"][field] = 1.into();
        patch(&machine, "slow", &spec).await?;
        wait_for(field, LIMIT, async || {
            let answer = machine.call("slow", "{}").await?;
            ensure!(answer.status == 504 && answer.body.contains("within 1 seconds"), "{answer:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
