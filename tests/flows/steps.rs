//! What the steps of a TaskRun may ask for, on the engine.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tm_testkit::{
    machine::{Machine, wait_for},
    tools,
};

use crate::{
    support::{apply, get},
    target,
};

/// Longest wait for a run.
const LIMIT: Duration = Duration::from_secs(60);

/// A step of the machine's shell.
fn shell(name: &str, text: &str, more: Value) -> Value {
    let mut step = json!({"name": name, "image": "tm.local/host", "command": ["sh", "-c", text]});
    json_merge(&mut step, more);
    step
}

fn json_merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

async fn run(machine: &Machine, name: &str, spec: Value) -> Result<Value> {
    let metadata = json!({"name": name});
    let run = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": metadata, "spec": spec});
    apply(machine, &run.to_string()).await?;
    wait_for(name, LIMIT, async || {
        let run = get(machine, &format!("taskrun/{name}")).await?;
        ensure!(run["status"]["completionTime"].is_string(), "{}", run["status"]);
        Ok(run)
    })
    .await
}

/// Exit code, reason and Tekton's reason of each step.
fn ends(run: &Value) -> Value {
    let steps = run["status"]["steps"].as_array().cloned().unwrap_or_default();
    let one = |step: &Value| {
        json!([step["terminated"]["exitCode"], step["terminated"]["reason"], step["terminationReason"]])
    };
    steps.iter().map(one).collect()
}

fn condition(run: &Value) -> Value {
    let condition = &run["status"]["conditions"][0];
    json!([condition["status"], condition["reason"], condition["message"]])
}

#[tokio::test]
async fn a_step_may_fail_be_left_out_and_see_only_its_workspaces() -> Result<()> {
    if tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    machine.kubectl(["create", "configmap", "words", "--from-literal=WORD=hi"]).await?;
    let code = r#"test "$(cat $(steps.step-bad.exitCode.path))" = 7"#;
    let when = |value: &str| json!({"when": [{"input": "$(params.P)", "operator": "in", "values": [value]}]});
    let source = json!({"workspaces": [{"name": "source", "mountPath": "/elsewhere"}]});
    let steps = json!([
        shell("bad", "printf early > $(results.R.path); exit 7", json!({"onError": "continue"})),
        shell("code", code, json!({})),
        shell("no", "exit 1", when("other")),
        shell("yes", "test \"$WORD\" = hi", {
            let mut more = when("value");
            json_merge(&mut more, json!({"envFrom": [{"configMapRef": {"name": "words"}}]}));
            more
        }),
        shell("with", "touch /elsewhere/file", source),
        shell("without", "test ! -e /workspace/source && test ! -e /elsewhere", json!({"timeout": "30s"})),
    ]);
    let task = json!({"params": [{"name": "P"}], "workspaces": [{"name": "source"}], "results": [{"name": "R"}],
        "steps": steps});
    let spec = json!({"params": [{"name": "P", "value": "value"}], "taskSpec": task,
        "workspaces": [{"name": "source", "emptyDir": {}, "subPath": "inner"}]});
    let done = run(&machine, "all", spec).await?;
    let well = json!([0, "Completed", "Completed"]);
    let expected =
        json!([[7, "Completed", "Continued"], well, [0, "Completed", "Skipped"], well, well, well]);
    assert_eq!(ends(&done), expected, "{done}");
    assert_eq!(condition(&done), json!(["True", "Succeeded", "All Steps have completed executing"]));
    assert_eq!(done["status"]["results"][0]["value"], "early");
    Ok(())
}

#[tokio::test]
async fn a_step_that_takes_too_long_or_cannot_be_run() -> Result<()> {
    if tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let steps =
        json!([shell("long", "sleep 600", json!({"timeout": "1s"})), shell("next", "true", json!({}))]);
    let late = run(&machine, "late", json!({"taskSpec": {"steps": steps}})).await?;
    let why = "\"step-long\" exited because the step exceeded the specified timeout limit";
    assert_eq!(condition(&late), json!(["False", "StepFailed", why]));
    assert_eq!(ends(&late), json!([[1, "Error", "TimeoutExceeded"], [1, "Error", "Skipped"]]));

    let steps = json!([{"name": "a", "ref": {"name": "action"}}]);
    let refused = run(&machine, "refused", json!({"taskSpec": {"steps": steps}})).await?;
    let why = "step \"a\": StepActions are not served by the embedded engine";
    assert_eq!(condition(&refused), json!(["False", "TaskRunValidationFailed", why]));

    let metadata = json!({"name": "alpha"});
    let step = shell("a", "true", json!({"stdoutConfig": {"path": "/tekton/results/R"}}));
    let task = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": metadata, "spec": {"steps": [step]}});
    let error = apply(&machine, &task.to_string()).await.expect_err("it is refused").to_string();
    ensure!(error.contains("step stdout stream support requires"), "{error}");
    Ok(())
}
