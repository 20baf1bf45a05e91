//! The engine where namespaces are forbidden, and where it is not root.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::{
    machine::{Machine, repository, wait_for},
    tools,
};

use crate::{
    machine,
    support::{function_with_extension, shell_function},
};

/// Longest wait for something a machine does by itself.
const LIMIT: Duration = Duration::from_secs(30);

/// A machine without namespaces; its folder lets the user of containers through.
fn plain() -> Machine {
    let machine = machine().with_env("TM_ISOLATION", "none");
    let open = PermissionsExt::from_mode(0o711);
    fs_err::set_permissions(machine.path(), open).expect("its mode can be set");
    machine
}

async fn no_process_but(machine: &Machine, allowed: Option<i64>) -> Result<()> {
    wait_for("processes to end", LIMIT, async || {
        let mut left = machine.processes();
        left.retain(|(pid, _)| Some(i64::from(*pid)) != allowed);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn python_without_namespaces() {
    if tools::find("python3").is_none() {
        return;
    }
    let machine = plain();
    let source = repository().join("examples/python");
    let from = source.display().to_string();
    let args = ["deploy", "service", "py", "--runtime", "python", "--wait", "-f", &from];
    machine.tm_ok(args).await.expect("it deploys");
    let status = machine.status().await.expect("it runs");
    assert_eq!(status["isolation"], "process (no namespaces: as asked for)");
    let event = fs_err::read_to_string(source.join("event.json")).expect("it reads");
    let wanted = fs_err::read_to_string(source.join("reply.json")).expect("it reads");
    let answer = machine.call("py.default", &event).await.expect("it answers");
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    assert_eq!((answer.status, read(&answer.body)), (200, read(&wanted)), "{answer:?}");
}

#[tokio::test]
async fn extensions_without_namespaces() -> Result<()> {
    if tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = plain();
    let folder = function_with_extension(&machine, "echo hello").display().to_string();
    machine.tm_ok(["deploy", "service", "beside", "-f", &folder, "--wait"]).await?;
    ensure!(machine.call("beside.default", "{}").await?.body == "hello");
    wait_for("the extension's line", LIMIT, async || {
        let log = machine.tm_ok(["logs", "beside"]).await?;
        ensure!(log.contains("probe saw {\"eventType\":\"INVOKE\""), "{log}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_outlives_a_function_without_namespaces() {
    if tools::find("curl").is_none() || tools::find("setsid").is_none() {
        return;
    }
    let machine = plain();
    // A process that leaves its group and its session, as daemons do.
    let body = "setsid sleep 300 >/dev/null 2>&1 & echo \"\\\"$(id -u) $LAMBDA_TASK_ROOT\\\"\"";
    let folder = shell_function(&machine, "daemon", body).display().to_string();
    machine.tm_ok(["deploy", "service", "daemon", "-f", &folder, "--wait"]).await.expect("it deploys");
    let said = machine.call("daemon.default", "{}").await.expect("it answers").body;
    assert!(said.contains(&machine.path().display().to_string()), "{said}");
    assert!(!nix_is_root() || said.contains("65532"), "{said}");
    let pid = machine.status().await.expect("it runs")["pid"].as_i64();
    machine.tm_ok(["delete", "service", "daemon"]).await.expect("it is deleted");
    no_process_but(&machine, pid).await.expect("deleting ends everything");

    machine.tm_ok(["deploy", "service", "daemon", "-f", &folder, "--wait"]).await.expect("it deploys");
    machine.call("daemon.default", "{}").await.expect("it answers");
    let pid = machine.status().await.expect("it runs")["pid"].as_i64().expect("a pid").to_string();
    machine.run_ok("kill", ["-9", &pid]).await.expect("it is killed");
    no_process_but(&machine, None).await.expect("nothing outlives a killed engine");
}

fn nix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs_err::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// User and group of the engine that is not root.
const USER: u32 = 1000;

#[tokio::test]
async fn an_engine_that_is_not_root() {
    if tools::find("setpriv").is_none() || tools::find("curl").is_none() {
        return;
    }
    if !nix_is_root() {
        // Every other flow is this test then: nothing is left out.
        return;
    }
    let machine = machine();
    // A copy: the build's folder may be closed to other users.
    let tm = machine.path().join("tm");
    fs_err::copy(env!("CARGO_BIN_EXE_tm"), &tm).expect("it copies");
    let tm = tm.display().to_string();
    let folder = shell_function(&machine, "hello", "id -u");
    machine.run_ok("chown", ["-R", "1000:1000", &machine.path().display().to_string()]).await.expect("chown");
    let id = USER.to_string();
    let as_user = async |args: &[&str]| {
        let rights = ["--reuid", &id, "--regid", &id, "--clear-groups", &tm];
        machine.run_ok("setpriv", rights.iter().chain(args)).await
    };
    as_user(&["local", "start"]).await.expect("it starts");
    let folder = folder.display().to_string();
    as_user(&["deploy", "service", "hello", "-f", &folder, "--wait"]).await.expect("it deploys");
    let status = machine.status().await.context("status").expect("it runs");
    let rights = ["--reuid", &id, "--regid", &id, "--clear-groups", "unshare", "-Urmpf", "true"];
    match machine.run_ok("setpriv", rights).await {
        Ok(_) => assert_eq!(status["isolation"], "process (mount and PID namespaces)"),
        Err(error) => tools::skip(&format!("no user namespaces without root: {error:#}")),
    }
    assert_eq!(machine.call("hello.default", "{}").await.expect("it answers").body, "1000");
}
