//! What goes wrong inside pods, seen from outside: side containers, deadlines, retries, deleted Revisions.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tm_testkit::{machine::wait_for, tools};

use crate::{
    machine,
    support::{apply, get, shell_function},
};

/// Longest wait for something a machine does by itself.
const LIMIT: Duration = Duration::from_secs(30);

/// `status reason message` of a condition.
fn condition(object: &Value, type_: &str) -> String {
    let list = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = list.iter().find(|condition| condition["type"] == type_).cloned().unwrap_or_default();
    let part = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    format!("{} {} {}", part("status"), part("reason"), part("message"))
}

#[tokio::test]
async fn a_crashing_side_container_is_reported_and_the_function_goes_on() {
    if tools::find("kubectl").is_none() || tools::find("python3").is_none() {
        return;
    }
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("it starts");
    apply(
        &machine,
        r#"
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: two}
spec:
  template:
    spec:
      containers:
        - name: main
          image: tm.local/host
          command: [sh, -c, 'exec python3 -m http.server --bind 127.0.0.1 "$PORT"']
          ports: [{containerPort: 8080}]
        - name: side
          image: tm.local/host
          command: [sh, -c, 'test -z "${PORT:-}" || exit 9; sleep 0.3; exit 4']
"#,
    )
    .await
    .expect("it is accepted");
    wait_for("the side container's end to be told", LIMIT, async || {
        let revision = get(&machine, "revision/two-00001").await?;
        let pods = get(&machine, "pods").await?;
        let list = pods["items"][0]["status"]["containerStatuses"].as_array().context("a status")?.clone();
        let side = list.iter().find(|status| status["name"] == "side").context("the side container")?;
        ensure!(side["lastState"]["terminated"]["exitCode"] == 4, "{side} {revision}");
        ensure!(side["restartCount"].as_i64() >= Some(1), "{side}");
        Ok(())
    })
    .await
    .expect("it is restarted");
}

#[tokio::test]
async fn a_revision_that_never_answers_fails_at_its_deadline() {
    if tools::find("kubectl").is_none() {
        return;
    }
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("it starts");
    apply(
        &machine,
        r#"
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: mute}
spec:
  template:
    metadata: {annotations: {serving.knative.dev/progress-deadline: 3s}}
    spec:
      containers: [{image: tm.local/host, command: [sh, -c, 'trap "exit 0" TERM; sleep 300 & wait']}]
"#,
    )
    .await
    .expect("it is accepted");
    wait_for("the deadline", LIMIT, async || {
        let service = get(&machine, "ksvc/mute").await?;
        let ready = condition(&service, "Ready");
        ensure!(
            ready.starts_with("False RevisionMissing") || ready.starts_with("False RevisionFailed"),
            "{ready}"
        );
        let revision = condition(&get(&machine, "revision/mute-00001").await?, "Ready");
        ensure!(revision == "False ProgressDeadlineExceeded Initial scale was never achieved", "{revision}");
        let pods = machine.kubectl(["get", "pods", "-o", "name"]).await?;
        ensure!(pods.trim().is_empty() || !pods.contains("mute"), "{pods}");
        Ok(())
    })
    .await
    .expect("it fails and its pod goes");
}

#[tokio::test]
async fn a_failed_run_is_tried_again_as_often_as_it_says() {
    if tools::find("kubectl").is_none() {
        return;
    }
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("it starts");
    apply(
        &machine,
        r#"
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: again}
spec:
  retries: 1
  taskSpec:
    steps: [{name: fails, image: tm.local/host, command: [sh, -c, 'exit 7']}]
"#,
    )
    .await
    .expect("it is accepted");
    wait_for("the second attempt to fail", LIMIT, async || {
        let run = get(&machine, "taskrun/again").await?;
        let succeeded = condition(&run, "Succeeded");
        ensure!(succeeded == r#"False StepFailed "step-fails" exited with code 7: Error"#, "{succeeded}");
        let past = run["status"]["retriesStatus"].as_array().context("retriesStatus")?.len();
        ensure!(past == 1, "{run}");
        ensure!(run["status"]["podName"] == "again-pod-retry1", "{run}");
        Ok(())
    })
    .await
    .expect("it is tried twice");
}

#[tokio::test]
async fn a_tag_of_a_deleted_revision_answers_at_once() {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return;
    }
    let machine = machine();
    for body in ["echo 1", "echo 2"] {
        let folder = shell_function(&machine, "hello", body).display().to_string();
        let args = ["deploy", "service", "hello", "-f", &folder, "--wait", "--tag", "hello-00001=old"];
        let take = if body == "echo 1" { 6 } else { args.len() };
        machine.tm_ok(&args[..take]).await.expect("it deploys");
    }
    assert_eq!(machine.call("old-hello.default", "{}").await.expect("it answers").body, "1");
    machine.kubectl(["delete", "revision", "hello-00001"]).await.expect("it is deleted");
    wait_for("the answer for a Revision that is gone", LIMIT, async || {
        let asked = tokio::time::timeout(Duration::from_secs(5), machine.call("old-hello.default", "{}"));
        let answer = asked.await.context("it must not wait")??;
        ensure!(answer.status == 503, "{answer:?}");
        let route = condition(&get(&machine, "route/hello").await?, "Ready");
        ensure!(route.starts_with("False RevisionMissing"), "{route}");
        Ok(())
    })
    .await
    .expect("callers are told");
    assert_eq!(machine.call("hello.default", "{}").await.expect("it answers").body, "2");
}
