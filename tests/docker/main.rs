//! The Docker runner against a real Docker engine of its own: the Python example from source to reply, commands in its
//! container, a step that fails, an engine that is killed, and nothing left at the end.

mod base;
mod dockerd;

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tm_testkit::{
    machine::{Machine, repository, wait_for},
    tools,
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use crate::dockerd::Dockerd;

/// Host name of the deployed function.
const HOST: &str = "hello.default.localhost";
/// Longest wait for something that is about to happen.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest time of a kubectl command.
const KUBECTL_LIMIT: Duration = Duration::from_secs(60);

fn machine() -> Machine {
    Machine::new(env!("CARGO_BIN_EXE_tm"))
}

#[tokio::test]
async fn an_unknown_runner_is_a_usage_error() {
    let ran = machine().tm(["local", "start", "--runner", "podman"]).await;
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("possible values: process, docker"), "{}", ran.stderr);
}

#[tokio::test]
async fn without_a_docker_engine_the_start_fails_and_says_why() {
    let machine = machine().with_env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let ran = machine.tm(["local", "start", "--runner", "docker"]).await;
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("unix:///nowhere/docker.sock"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: is the Docker engine running?"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_python_function_lives_in_docker() {
    let Some(dockerd) = Dockerd::start().await else { return };
    base::import(&dockerd).await.expect("the base image can be made");
    let machine = machine().with_env("DOCKER_HOST", dockerd.host());
    if let Err(error) = life(&machine, &dockerd).await {
        let log = fs_err::read_to_string(machine.state().join("engine.log")).unwrap_or_default();
        panic!("{error:#}\nengine:\n{log}\ndockerd:\n{}", dockerd.log_tail());
    }
}

async fn life(machine: &Machine, dockerd: &Dockerd) -> Result<()> {
    start(machine).await?;
    deploy(machine).await?;
    commands(machine).await.context("commands in the container")?;
    a_failing_step(machine).await.context("a failing step")?;
    an_image_that_cannot_be_pulled(machine).await.context("an image that cannot be pulled")?;
    a_killed_engine(machine, dockerd).await.context("a killed engine")?;
    machine.tm_ok(["local", "stop"]).await?;
    let left = dockerd.containers().await?;
    ensure!(left.is_empty(), "containers are left: {left:?}");
    Ok(())
}

async fn start(machine: &Machine) -> Result<()> {
    machine.tm_ok(["local", "start", "--runner", "docker", "--docker-base-image", base::NAME]).await?;
    let status = machine.status().await?;
    let isolation = status["isolation"].as_str().unwrap_or_default();
    ensure!(isolation.starts_with("docker ("), "{status}");
    Ok(())
}

async fn deploy(machine: &Machine) -> Result<()> {
    let source = repository().join("examples/python").display().to_string();
    machine.tm_ok(["deploy", "service", "hello", "-f", &source, "--runtime", "python", "--wait"]).await?;
    call(machine).await
}

async fn call(machine: &Machine) -> Result<()> {
    let example = repository().join("examples/python");
    let event = fs_err::read_to_string(example.join("event.json"))?;
    let wanted: Value = serde_json::from_str(&fs_err::read_to_string(example.join("reply.json"))?)?;
    let answer = machine.call(HOST, &event).await?;
    let got: Value = serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
    ensure!(got == wanted, "{got}, wanted {wanted}");
    Ok(())
}

/// Through kubectl: another user, another file system, input to its end, the exit code; and the log.
async fn commands(machine: &Machine) -> Result<()> {
    wait_for("the function's log", LIMIT, async || {
        let logs = machine.tm_ok(["logs", "hello"]).await?;
        ensure!(logs.contains("REPORT RequestId"), "{logs}");
        Ok(())
    })
    .await?;
    if tools::find("kubectl").is_none() {
        return Ok(());
    }
    let pods = kubectl(machine, &["get", "pods", "-o", "json"], None).await?;
    let pods: Value = serde_json::from_str(&pods.1)?;
    let items = pods["items"].as_array().context("a list")?;
    let running = |pod: &&Value| pod["status"]["phase"] == json!("Running");
    let pod = items.iter().find(running).and_then(|pod| pod["metadata"]["name"].as_str());
    let pod = pod.with_context(|| format!("no pod runs: {pods}"))?;
    for (command, input, wanted) in [
        (&["id", "-u"][..], None, (0, "65532\n")),
        (&["sh", "-c", "wc -c"], Some("12345"), (0, "5\n")),
        (&["sh", "-c", "touch /file 2>/dev/null || echo refused"], None, (0, "refused\n")),
        (&["sh", "-c", "exit 7"], None, (7, "")),
    ] {
        let mut args = vec!["exec", "-i", pod, "--"];
        args.extend(command);
        let (code, out) = kubectl(machine, &args, input).await?;
        ensure!((code, out.as_str()) == wanted, "{command:?}: exit code {code}, {out}");
    }
    Ok(())
}

async fn kubectl(machine: &Machine, args: &[&str], input: Option<&str>) -> Result<(i32, String)> {
    let mut command = machine.command("kubectl");
    command.args(["--context", "tm-local"]).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("an input")?;
    stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
    drop(stdin);
    let output = timeout(KUBECTL_LIMIT, child.wait_with_output()).await.context("kubectl ends in time")??;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

async fn a_failing_step(machine: &Machine) -> Result<()> {
    let folder = machine.path().join("broken");
    fs_err::create_dir_all(&folder)?;
    fs_err::write(folder.join("handler.py"), "def handler(event, context):\n    return 1\n")?;
    fs_err::write(folder.join("requirements.txt"), "./nowhere\n")?;
    let from = folder.display().to_string();
    let ran = machine.tm(["deploy", "service", "broken", "-f", &from, "--runtime", "python"]).await;
    ensure!(ran.code == 1, "exit code {}: {}", ran.code, ran.stderr);
    ensure!(ran.stderr.contains("the build failed in step"), "{}", ran.stderr);
    Ok(())
}

/// As the public default images where there is no network.
async fn an_image_that_cannot_be_pulled(machine: &Machine) -> Result<()> {
    let source = repository().join("examples/python").display().to_string();
    let argument = "BUILD_IMAGE=127.0.0.1:1/none/python:1";
    let args =
        ["deploy", "service", "far", "-f", &source, "--runtime", "python", "--build-argument", argument];
    let ran = machine.tm(args).await;
    ensure!(ran.code == 1, "{ran:?}");
    for word in ["TaskRunImagePullFailed", "127.0.0.1:1", "hint:", "--docker-base-image"] {
        ensure!(ran.stderr.contains(word), "no `{word}` in {}", ran.stderr);
    }
    let left = machine.tm(["get", "taskruns"]).await;
    ensure!(!left.stdout.contains("far-"), "{left:?}");
    Ok(())
}

/// Its containers go on, which is inherent; the next engine removes them and serves as before.
async fn a_killed_engine(machine: &Machine, dockerd: &Dockerd) -> Result<()> {
    call(machine).await?;
    let before = dockerd.containers().await?;
    ensure!(!before.is_empty(), "the function's container runs");
    let pid = machine.status().await?["pid"].to_string();
    machine.run_ok("kill", ["-9", &pid]).await?;
    wait_for("the engine's death", LIMIT, async || {
        ensure!(machine.status().await.is_err(), "it runs");
        Ok(())
    })
    .await?;
    start(machine).await?;
    let after = dockerd.containers().await?;
    ensure!(!after.iter().any(|id| before.contains(id)), "left behind: {before:?}, now {after:?}");
    let begun = Instant::now();
    call(machine).await?;
    ensure!(begun.elapsed() < LIMIT, "a cold start took {:?}", begun.elapsed());
    Ok(())
}
