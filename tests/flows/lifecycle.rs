//! What happens to a function after its first deployment.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tm_testkit::{
    machine::{Machine, call, wait_for},
    tools,
};

use crate::{
    machine,
    support::{deploy, reply},
};

/// Longest wait for something a machine does by itself.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_killed_engine_comes_back_with_everything() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = machine();
    deploy(&machine, "hello", "echo 1", &[]).await;
    let before = machine.status().await.expect("it runs");
    let pid = before["pid"].as_i64().expect("a pid").to_string();
    machine.run_ok("kill", ["-9", &pid]).await.expect("it is killed");
    wait_for("the function's processes to die with the engine", LIMIT, async || {
        let left = machine.processes();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .expect("nothing is left");
    machine.tm_ok(["local", "start"]).await.expect("it starts again");
    assert_eq!(reply(&machine, "hello").await, "1");
}

#[tokio::test]
async fn the_lambda_api_needs_no_name_that_resolves() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = machine();
    deploy(&machine, "hello", "echo 1", &[]).await;
    let ingress = machine.functions().await.expect("it runs");
    let invoke = async |name: &str| {
        let url = format!("http://{ingress}/2015-03-31/functions/{name}/invocations");
        let curl = ["-s", "-m", "60", "-d", "{}", "-w", " %{http_code}", &url];
        machine.run_ok("curl", curl).await.expect("it answers")
    };
    for name in ["hello", "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Ahello"] {
        assert_eq!(invoke(name).await, "1 200", "{name}");
    }
    let nobody = invoke("nobody").await;
    assert!(nobody.ends_with(" 404"), "{nobody}");
}

#[tokio::test]
async fn an_idle_function_has_no_process_and_the_next_call_starts_one() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = machine();
    let window = ["-a", "autoscaling.knative.dev/window=6s"];
    deploy(&machine, "hello", "echo 1", &window).await;
    let ingress = machine.functions().await.expect("it runs");
    assert_eq!(call(ingress, "hello.default", "{}").await.expect("it answers").body, "1");
    wait_for("scale to zero", LIMIT, async || {
        let left: Vec<_> =
            machine.processes().into_iter().filter(|(_, line)| line.contains("runtime-shim")).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .expect("nothing is left");
    let service: Value = get(&machine, "service", "hello").await.expect("it is there");
    assert_eq!(condition(&service, "Ready"), "True");
    assert_eq!(call(ingress, "hello.default", "{}").await.expect("it answers").body, "1");
}

#[tokio::test]
async fn stop_leaves_nothing() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = machine();
    deploy(&machine, "hello", "echo 1", &[]).await;
    assert_eq!(reply(&machine, "hello").await, "1");
    machine.tm_ok(["local", "stop"]).await.expect("it stops");
    let left = machine.processes();
    assert!(left.is_empty(), "processes: {left:?}");
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("the mount table is there");
    assert!(!mounts.contains(&machine.path().display().to_string()), "{mounts}");
    for file in ["engine.sock", "engine.lock"] {
        assert!(!machine.path().join("run").join(file).exists(), "{file} is left");
    }
    let status = machine.tm(["local", "status"]).await;
    assert_eq!((status.code, status.stderr.contains("no engine is running")), (1, true), "{status:?}");
}

#[tokio::test]
async fn two_commands_at_once_share_one_engine() {
    let machine = machine();
    let (one, two) = tokio::join!(machine.tm(["get", "services"]), machine.tm(["get", "services"]));
    assert_eq!((one.code, two.code), (0, 0), "{one:?}\n{two:?}");
    assert!(one.stderr.contains("No services found"), "{one:?}");
}

#[tokio::test]
async fn two_first_deploys_at_once_share_one_engine() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = machine();
    let deployed = |name: &'static str, answer: &'static str| deploy(&machine, name, answer, &[]);
    tokio::join!(deployed("one", "echo 1"), deployed("two", "echo 2"));
    let answers = tokio::join!(reply(&machine, "one"), reply(&machine, "two"));
    assert_eq!(answers, ("1".to_owned(), "2".to_owned()));
    let all = machine.processes();
    let engines: Vec<_> = all.iter().filter(|(_, line)| line.split(' ').nth(1) == Some("engine")).collect();
    assert_eq!(engines.len(), 1, "{all:?}");
}

async fn get(machine: &Machine, kind: &str, name: &str) -> Result<Value> {
    let text = machine.tm_ok(["get", kind, name, "-o", "json"]).await?;
    Ok(serde_json::from_str(&text)?)
}

fn condition(object: &Value, type_: &str) -> String {
    let list = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = list.iter().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_function_may_take_as_long_as_on_aws() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = machine();
    deploy(&machine, "patient", "echo 1", &["--timeout", "900"]).await;
    assert_eq!(reply(&machine, "patient").await, "1");
    let looked = machine.tm_ok(["doctor", "--no-pods"]).await.expect("all is well");
    assert!(looked.contains("time-outs    up to 900 s"), "{looked}");
}
