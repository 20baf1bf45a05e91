//! Functions that a schedule calls.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tm_testkit::{
    machine::{Machine, wait_for},
    tools,
};

use crate::{
    support::{apply, deploy, get},
    target,
};

/// Longest wait for something a machine does by itself.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_schedule_calls_a_function_and_wakes_it() -> Result<()> {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    apply(&machine, &source("tick", "clock").to_string()).await?;
    wait_for("the source to miss its sink", LIMIT, async || {
        let said = ready(&get(&machine, "pingsource/tick").await?);
        ensure!(said == json!(["False", "NotFound"]), "{said}");
        Ok(())
    })
    .await?;
    let told = wait_for("an Event", LIMIT, async || {
        let told = machine.kubectl(["get", "events", "-o", "json"]).await?;
        ensure!(told.contains("SinkNotFound"), "{told}");
        Ok(told)
    });
    told.await?;

    // It sleeps when the first event comes: nothing else calls it.
    let idle = ["-a", "autoscaling.knative.dev/window=6s"];
    deploy(&machine, "clock", r#"echo "$event" >&2; echo 1"#, &idle).await;
    heard(&machine, "clock", "from-ping").await?;
    let object = get(&machine, "pingsource/tick").await?;
    assert_eq!(ready(&object), json!(["True", null]));
    let address = get(&machine, "ksvc/clock").await?["status"]["address"]["url"].clone();
    assert_eq!(object["status"]["sinkUri"], address);
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    let attributes = json!([{"type": "dev.knative.sources.ping", "source": "/apis/v1/namespaces/default/pingsources/tick"}]);
    assert_eq!(object["status"]["ceAttributes"], attributes);

    // A change is followed, and the engine of after a restart goes on.
    let data = r#"{"spec":{"data":"{\"tick\": \"changed\"}"}}"#;
    machine.kubectl(["patch", "pingsource", "tick", "--type=merge", "-p", data]).await?;
    heard(&machine, "clock", "changed").await?;
    machine.tm_ok(["local", "stop"]).await?;
    machine.tm_ok(["local", "start"]).await?;
    heard(&machine, "clock", "changed").await?;

    // Without it nobody calls any more, and the function goes to sleep.
    machine.kubectl(["delete", "pingsource", "tick"]).await?;
    wait_for("the last pod to go", LIMIT * 2, async || {
        let left =
            machine.kubectl(["get", "pods", "-l", "serving.knative.dev/service=clock", "-o", "name"]).await?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_no_schedule_is_refused() {
    if tools::find("kubectl").is_none() {
        return;
    }
    let machine = target().await;
    let mut wrong = source("tick", "clock");
    wrong["spec"]["schedule"] = "61 * * * *".into();
    let error = apply(&machine, &wrong.to_string()).await.expect_err("it is refused").to_string();
    let message = "admission webhook \"validation.webhook.eventing.knative.dev\" denied the request: validation failed: \
                   invalid value: end of range (61) above maximum (59): 61: spec.schedule";
    assert!(error.contains(message), "{error}");
}

/// Fires each second.
fn source(name: &str, sink: &str) -> Value {
    json!({
        "apiVersion": "sources.knative.dev/v1", "kind": "PingSource", "metadata": {"name": name},
        "spec": {
            "schedule": "* * * * * *", "contentType": "application/json", "data": r#"{"tick": "from-ping"}"#,
            "sink": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": sink}},
        },
    })
}

fn ready(object: &Value) -> Value {
    let list = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = list.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
    json!([ready["status"], ready["reason"]])
}

/// The function was called with an event that says so, since it was last started.
async fn heard(machine: &Machine, function: &str, word: &str) -> Result<()> {
    wait_for("the event in the function's log", LIMIT * 2, async || {
        let log = machine.tm_ok(["logs", function]).await?;
        ensure!(log.contains(word), "{log}");
        Ok(())
    })
    .await
}
