//! Ctrl-C at each phase of a command, and SIGTERM, which means the same: exit code 130, nothing half-made, and a message that says what is left.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use tm_testkit::{
    machine::{Machine, Ran, wait_for},
    tools,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::{
    machine,
    support::{folder, nothing_left, shell_function},
};

/// Longest wait for a phase to begin, and for the command to end after Ctrl-C.
const LIMIT: Duration = Duration::from_secs(60);

/// A Task that never ends by itself.
const SLOW: &str = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: slow}\nspec:\n  params: [{name: IMAGE}]\n  steps:\n    - {name: wait, image: tm.local/host, command: [sleep], args: ['300']}\n";

/// Reads until `wanted` was seen.
async fn until(output: &mut (impl AsyncRead + Unpin), seen: &mut String, wanted: &str) -> Result<()> {
    let mut chunk = [0; 1024];
    while !seen.contains(wanted) {
        let read = tokio::time::timeout(LIMIT, output.read(&mut chunk)).await;
        let count = read.with_context(|| format!("no `{wanted}` in: {seen}"))??;
        ensure!(count > 0, "it ended before `{wanted}`: {seen}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    Ok(())
}

/// Runs `tm` and presses Ctrl-C as soon as stderr shows `marker`.
async fn interrupted_at(machine: &Machine, marker: &str, args: &[&str]) -> Result<Ran> {
    signalled_at(machine, "-INT", marker, args).await
}

async fn signalled_at(machine: &Machine, signal: &str, marker: &str, args: &[&str]) -> Result<Ran> {
    let mut child = machine.spawn(args)?;
    let pid = child.id().context("it runs")?.to_string();
    let mut stderr = child.stderr.take().context("it has a stderr")?;
    let mut seen = String::new();
    until(&mut stderr, &mut seen, marker).await?;
    machine.run_ok("kill", [signal, &pid]).await?;
    let rest = async {
        stderr.read_to_string(&mut seen).await?;
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(LIMIT, rest).await.context("it ends after Ctrl-C")??;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: seen,
    })
}

/// The last line says `interrupted: …`, and the exit code the same.
#[track_caller]
fn says(ran: &Ran, left: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("interrupted: ") && last.contains(left), "{ran:?}");
    assert!(!ran.stderr.contains("error:"), "{ran:?}");
}

async fn no_process(machine: &Machine, of: &str) -> Result<()> {
    wait_for("the build's processes to end", LIMIT, async || {
        let left: Vec<_> = machine.processes().into_iter().filter(|(_, line)| line.contains(of)).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

fn slow_task(machine: &Machine) -> Result<String> {
    let file = machine.path().join("slow.yaml");
    fs::write(&file, SLOW)?;
    Ok(file.display().to_string())
}

#[tokio::test]
async fn while_packing() -> Result<()> {
    let machine = machine();
    let temporary = machine.path().join("temporary");
    fs::create_dir(&temporary)?;
    let machine = machine.with_env("TMPDIR", temporary.to_str().context("text")?);
    let source = folder(&machine, "large", &[("main.py", "x")]);
    // As large as a source may be: packing it takes seconds.
    fs::File::create(format!("{source}/disk.img"))?.set_len((1 << 30) - 1)?;
    let ran = interrupted_at(&machine, "packing", &["deploy", "service", "a", "-f", &source, "-d"]).await?;
    says(&ran, "nothing was built");
    ensure!(fs::read_dir(&temporary)?.next().is_none(), "a temporary file is left");
    nothing_left(&machine).await;
    Ok(())
}

#[tokio::test]
async fn while_uploading() -> Result<()> {
    let machine = machine();
    let source = folder(&machine, "large", &[]);
    // Does not become smaller when it is packed, so the upload takes long.
    let mut noise = tokio::fs::File::open("/dev/urandom").await?.take(200 << 20);
    let mut file = tokio::fs::File::create(format!("{source}/noise")).await?;
    tokio::io::copy(&mut noise, &mut file).await?;
    let task = slow_task(&machine)?;
    let args = ["deploy", "service", "a", "-f", &source, "--runtime", &task];
    let ran = interrupted_at(&machine, "Uploading the source", &args).await?;
    ensure!(!ran.stderr.contains("Building"), "the upload was over: {ran:?}");
    says(&ran, "the build was cancelled and removed");
    nothing_left(&machine).await;
    no_process(&machine, "build-tasks").await
}

#[tokio::test]
async fn while_building() -> Result<()> {
    let machine = machine();
    let source = folder(&machine, "source", &[("x", "y")]);
    let task = slow_task(&machine)?;
    let args = ["deploy", "service", "a", "-f", &source, "--runtime", &task];
    let ran = interrupted_at(&machine, "Building a with runtime", &args).await?;
    says(&ran, "the build was cancelled and removed");
    nothing_left(&machine).await;
    no_process(&machine, "sleep").await
}

/// As CI systems end their jobs.
#[tokio::test]
async fn by_sigterm() -> Result<()> {
    let machine = machine();
    let source = folder(&machine, "source", &[("x", "y")]);
    let task = slow_task(&machine)?;
    let args = ["deploy", "service", "a", "-f", &source, "--runtime", &task];
    let ran = signalled_at(&machine, "-TERM", "Building a with runtime", &args).await?;
    says(&ran, "the build was cancelled and removed");
    nothing_left(&machine).await;
    no_process(&machine, "sleep").await
}

/// What was applied is the target's: it goes on starting, as with kn and kubectl, and can be deleted.
#[tokio::test]
async fn while_waiting_for_ready() -> Result<()> {
    let machine = machine();
    let source = shell_function(&machine, "source", "echo 1").display().to_string();
    // The shim refuses that and ends, so the service never becomes ready.
    let never = ["-e", "INVOKER_COUNT=none"];
    let args = ["deploy", "service", "a", "-f", &source, "--wait", never[0], never[1]];
    let ran = interrupted_at(&machine, "Waiting for service \"a\" ready state", &args).await?;
    says(&ran, "goes on starting");
    ensure!(ran.stderr.contains("tm -n default delete service a"), "{ran:?}");
    let services = machine.tm_ok(["get", "services"]).await?;
    ensure!(services.contains('a') && !services.contains("True"), "{services}");
    machine.tm_ok(["delete", "service", "a"]).await?;
    nothing_left(&machine).await;
    no_process(&machine, "runtime-shim").await
}

/// Both kinds of question: one is read key by key, the other with the echo switched off.
#[tokio::test]
async fn at_a_question() -> Result<()> {
    if tools::find("script").is_none() || tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = machine();
    machine.tm_ok(["local", "start"]).await?;
    for (question, flags) in [("Username", ""), ("Password", "--username u")] {
        let shown = after_ctrl_c(&machine, question, flags).await?;
        ensure!(shown.contains("code=130") && shown.contains("interrupted"), "{question}: {shown}");
        for setting in ["echo", "icanon", "isig"] {
            let restored = shown.split_whitespace().any(|word| word == setting);
            ensure!(restored, "{question}: no `{setting}` in the terminal's settings: {shown}");
        }
    }
    let secrets = machine.kubectl(["get", "secrets", "-o", "name"]).await?;
    ensure!(!secrets.contains("asked"), "{secrets}");
    Ok(())
}

/// Presses Ctrl-C at a question and returns what the terminal showed, its settings at the end included.
async fn after_ctrl_c(machine: &Machine, question: &str, flags: &str) -> Result<String> {
    let tm = env!("CARGO_BIN_EXE_tm");
    let line = format!(
        "trap : INT; {tm} set registry-auth asked --registry r.example.com {flags}; echo code=$?; stty -a; echo over"
    );
    let mut command = machine.command("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("an input")?;
    let mut output = child.stdout.take().context("an output")?;
    let mut seen = String::new();
    until(&mut output, &mut seen, question).await?;
    input.write_all(b"\x03").await?;
    until(&mut output, &mut seen, "over\r\n").await?;
    drop(input);
    tokio::time::timeout(LIMIT, child.wait()).await.context("the terminal closes")??;
    Ok(seen)
}
