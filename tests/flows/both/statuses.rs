//! What goes wrong is said in the words of Knative and Tekton: conditions, reasons, messages and steps that people and their
//! tools read are the same on every target.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tm_testkit::{
    machine::{Machine, wait_for},
    tools,
};

use crate::{
    support::{apply, deploy, get, reply},
    target,
};

/// Longest wait for something a target does by itself: Knative gives a failed Revision up after its deadline and more.
const LIMIT: Duration = Duration::from_secs(180);

/// Status, reason and message of a condition.
fn condition<'a>(object: &'a Value, type_: &str) -> [&'a str; 3] {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null);
    ["status", "reason", "message"].map(|key| found[key].as_str().unwrap_or_default())
}

/// Waits for a condition that is decided.
async fn decided(machine: &Machine, kind: &str, name: &str, type_: &str) -> Value {
    wait_for(&format!("{kind} {name}"), LIMIT, async || {
        let object = get(machine, &format!("{kind}/{name}")).await?;
        ensure!(["True", "False"].contains(&condition(&object, type_)[0]), "{}", object["status"]);
        Ok(object)
    })
    .await
    .expect("it is decided")
}

/// An image that has a shell, by digest: that of a function which works.
async fn image(machine: &Machine) -> String {
    deploy(machine, "good", "echo 1", &[]).await;
    assert_eq!(reply(machine, "good").await, "1");
    let service = get(machine, "ksvc/good").await.expect("it is there");
    let image = &service["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().expect("it has an image").to_owned()
}

fn service(name: &str, container: Value) -> Value {
    let annotations = json!({"serving.knative.dev/progress-deadline": "40s"});
    json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}},
    })
}

fn run(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn services() {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return;
    }
    let machine = target().await;
    let image = image(&machine).await;
    let host = image.split('/').next().expect("a registry");
    let missing = format!("{host}/none/none:1");
    let crash = json!({"image": image, "command": ["sh", "-c", "echo dying; exit 3"]});
    for object in [service("crash", crash), service("noimage", json!({"image": missing}))] {
        apply(&machine, &object.to_string()).await.expect("it is accepted");
    }
    ready(&machine).await;
    without_image(&machine, &missing).await;
    crashed(&machine).await;
}

async fn ready(machine: &Machine) {
    wait_for("the good one's status", LIMIT, async || {
        let revision = get(machine, "revision/good-00001").await?;
        let annotations = &revision["metadata"]["annotations"];
        ensure!(annotations["serving.knative.dev/routes"] == "good", "{annotations}");
        ensure!(annotations["serving.knative.dev/routingStateModified"].is_string(), "{annotations}");
        let configuration = get(machine, "configuration/good").await?;
        ensure!(
            configuration["metadata"]["annotations"]["serving.knative.dev/routes"] == "good",
            "{configuration}"
        );
        Ok(())
    })
    .await
    .expect("the route is named on what it sends to");
    let route = get(machine, "route/good").await.expect("it is there");
    assert_eq!(condition(&route, "CertificateProvisioned")[0], "True", "{route}");
    assert!(route["status"]["address"]["url"].is_string(), "{route}");
    assert!(route["metadata"]["labels"].get("serving.knative.dev/serviceUID").is_none(), "{route}");
}

async fn without_image(machine: &Machine, image: &str) {
    let revision = decided(machine, "revision", "noimage-00001", "Ready").await;
    let [status, reason, message] = condition(&revision, "Ready");
    assert_eq!((status, reason), ("False", "ContainerMissing"));
    let begin = format!("Unable to fetch image \"{image}\": failed to resolve image to digest: HEAD http");
    let end = "/v2/none/none/manifests/1: unexpected status code 404 Not Found (HEAD responses have no body, use GET for details)";
    assert!(message.starts_with(&begin) && message.ends_with(end), "{message}");
    assert_eq!(condition(&revision, "ContainerHealthy"), [status, reason, message]);
    assert_eq!(condition(&revision, "ResourcesAvailable"), ["Unknown", "ResolvingDigests", ""]);
    let expected = format!("Revision \"noimage-00001\" failed with message: {message}.");
    unreachable(machine, "noimage", &expected).await;
}

async fn crashed(machine: &Machine) {
    let message = "Container failed with: dying\n";
    let revision = wait_for("the failed Revision to be given up", LIMIT, async || {
        let revision = get(machine, "revision/crash-00001").await?;
        let active = condition(&revision, "Active");
        ensure!(active == ["False", "NoTraffic", "The target is not receiving traffic."], "{revision}");
        Ok(revision)
    })
    .await
    .expect("it gets no more pods");
    for type_ in ["ContainerHealthy", "Ready"] {
        assert_eq!(condition(&revision, type_), ["False", "ExitCode3", message], "{revision}");
    }
    assert_eq!(condition(&revision, "ResourcesAvailable"), ["Unknown", "Deploying", ""]);
    let conditions = revision["status"]["conditions"].as_array().expect("conditions");
    let informs: Vec<_> = conditions.iter().filter(|one| one["severity"] == "Info").collect();
    assert!(informs.len() == 1 && informs[0]["type"] == "Active", "{conditions:?}");
    let expected = format!("Revision \"crash-00001\" failed with message: {message}.");
    unreachable(machine, "crash", &expected).await;
}

/// A Service whose only Revision failed has no traffic and no address.
async fn unreachable(machine: &Machine, name: &str, why: &str) {
    let configuration = decided(machine, "configuration", name, "Ready").await;
    assert_eq!(condition(&configuration, "Ready"), ["False", "RevisionFailed", why]);
    let service = decided(machine, "ksvc", name, "Ready").await;
    assert_eq!(condition(&service, "ConfigurationsReady"), ["False", "RevisionFailed", why]);
    let nothing = format!("Configuration \"{name}\" does not have any ready Revision.");
    assert_eq!(condition(&service, "Ready"), ["False", "RevisionMissing", &nothing]);
    let route = decided(machine, "route", name, "Ready").await;
    assert_eq!(condition(&route, "AllTrafficAssigned"), ["False", "RevisionMissing", &nothing]);
    assert_eq!(condition(&route, "CertificateProvisioned"), ["Unknown", "", ""]);
    let ingress = ["Unknown", "IngressNotConfigured", "Ingress has not yet been reconciled."];
    assert_eq!(condition(&route, "IngressReady"), ingress);
    for object in [&service, &route] {
        assert!(object["status"]["url"].is_string(), "{object}");
        assert!(object["status"].get("address").is_none(), "{object}");
    }
    let told = format!("Latest created revision \"{name}-00001\" has failed");
    wait_for("the event", LIMIT, async || {
        let about = format!("involvedObject.kind=Configuration,involvedObject.name={name}");
        let events = machine.kubectl(["get", "events", "--field-selector", &about]).await?;
        ensure!(events.contains("LatestCreatedFailed") && events.contains(&told), "{events}");
        Ok(())
    })
    .await
    .expect("it is told");
}

#[tokio::test]
async fn task_runs() {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return;
    }
    let machine = target().await;
    let image = image(&machine).await;
    let shell = |name: &str, text: &str| json!({"name": name, "image": image, "command": ["sh", "-c", text]});
    let steps = |steps: Value| json!({"taskSpec": {"steps": steps}});
    let sleep = steps(json!([{"name": "a", "image": image, "command": ["sleep", "600"]}]));
    let mut slow = sleep.clone();
    // It must have begun by then, also where machines are busy: Tekton says so in other words.
    slow["timeout"] = "20s".into();
    let mut ok = steps(json!([shell("a", "printf hi > $(results.R.path)"), shell("b", "echo b")]));
    ok["taskSpec"]["results"] = json!([{"name": "R"}]);
    let bad = steps(json!([shell("a", "exit 7"), shell("b", "echo b")]));
    let no_task = json!({"taskRef": {"name": "nothing"}});
    let no_command = steps(json!([{"name": "a", "image": image, "command": ["/no/such/program"]}]));
    let runs = [
        ("ok", ok),
        ("bad", bad),
        ("slow", slow),
        ("cancel", sleep),
        ("notask", no_task),
        ("nocommand", no_command),
    ];
    for (name, spec) in runs {
        apply(&machine, &run(name, spec).to_string()).await.expect("it is accepted");
    }

    let done = ended(&machine, "ok", ["True", "Succeeded", "All Steps have completed executing"]).await;
    let message = r#"[{"key":"R","value":"hi","type":1}]"#;
    assert_eq!(step(&done, 0), json!([0, "Completed", message, "Completed"]));
    assert_eq!(done["status"]["results"], json!([{"name": "R", "type": "string", "value": "hi"}]));
    assert!(done["status"]["steps"][0]["imageID"].is_string(), "{done}");
    assert!(done["metadata"]["annotations"]["pipeline.tekton.dev/release"].is_string(), "{done}");
    let failed = ["False", "StepFailed", r#""step-a" exited with code 7: Error"#];
    let done = ended(&machine, "bad", failed).await;
    assert_eq!(step(&done, 0), json!([7, "Error", null, "Error"]));
    assert_eq!(step(&done, 1), json!([1, "Error", null, "Skipped"]));
    let failed = ["False", "StepFailed", r#""step-a" exited with code 1: Error"#];
    let done = ended(&machine, "nocommand", failed).await;
    assert_eq!(step(&done, 0), json!([1, "Error", null, "Error"]));
    let failed = ["False", "TaskRunTimeout", r#"TaskRun "slow" failed to finish within "20s""#];
    let done = ended(&machine, "slow", failed).await;
    let terminated = "Step a terminated as pod slow-pod is terminated";
    assert_eq!(step(&done, 0), json!([1, "TaskRunTimeout", terminated, "TaskRunTimeout"]));
    let failed = "error when listing tasks for taskRun notask: tasks.tekton.dev \"nothing\" not found";
    let done = ended(&machine, "notask", ["False", "TaskRunResolutionFailed", failed]).await;
    assert_eq!(done["status"]["podName"], "");
    cancelled(&machine).await;
}

async fn cancelled(machine: &Machine) {
    wait_for("the step to run", LIMIT, async || {
        let run = get(machine, "taskrun/cancel").await?;
        run.pointer("/status/steps/0/running").context(run["status"].to_string()).map(drop)
    })
    .await
    .expect("it runs");
    let patch =
        ["patch", "taskrun", "cancel", "--type=merge", "-p", r#"{"spec":{"status":"TaskRunCancelled"}}"#];
    machine.kubectl(patch).await.expect("it is cancelled");
    let done =
        ended(machine, "cancel", ["False", "TaskRunCancelled", "TaskRun \"cancel\" was cancelled. "]).await;
    let terminated = "Step a terminated as pod cancel-pod is terminated";
    assert_eq!(step(&done, 0), json!([1, "TaskRunCancelled", terminated, "TaskRunCancelled"]));
}

/// A run that ended with this condition, and says nothing a client could take for another kind's status.
async fn ended(machine: &Machine, name: &str, wanted: [&str; 3]) -> Value {
    let run = decided(machine, "taskrun", name, "Succeeded").await;
    assert_eq!(condition(&run, "Succeeded"), wanted, "{run}");
    assert!(run["status"].get("observedGeneration").is_none(), "{run}");
    run
}

/// Exit code, reason and message of a step, and why Tekton says it ended.
fn step(run: &Value, index: usize) -> Value {
    let step = &run["status"]["steps"][index];
    let ended = &step["terminated"];
    json!([ended["exitCode"], ended["reason"], ended["message"], step["terminationReason"]])
}
