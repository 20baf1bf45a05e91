//! The ways to name a source and a runtime, and what can be said about a deployment.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::{
    machine::{Machine, wait_for},
    tools,
};

use crate::{
    support::{function_with_extension, shell_function},
    target,
};

async fn tm(machine: &Machine, line: &str) -> Result<String> {
    machine.tm_ok(line.split(' ')).await
}

async fn answer(machine: &Machine, name: &str) -> Result<String> {
    let answer = machine.call(name, r#"{"name":"Foo"}"#).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.body)
}

#[tokio::test]
async fn a_single_file() -> Result<()> {
    if tools::find("python3").is_none() || tools::find("pip3").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let file = machine.path().join("greet.py");
    fs_err::write(&file, "def handler(event, context):\n    return event['name']\n")?;
    tm(&machine, &format!("deploy service one -f {} --wait", file.display())).await?;
    ensure!(answer(&machine, "one").await? == "\"Foo\"");
    Ok(())
}

#[tokio::test]
async fn a_git_repository() -> Result<()> {
    if tools::find("git").is_none() || tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let folder = shell_function(&machine, "repository", "echo from-git");
    let git = async |args: &str| {
        let identity =
            ["-c", "user.name=t", "-c", "user.email=t@example.com", "-C", folder.to_str().expect("text")];
        machine.run_ok("git", identity.into_iter().chain(args.split(' '))).await
    };
    for step in ["init -q -b main", "add .", "commit -q -m x", "branch release"] {
        git(step).await?;
    }
    // `master` is the default of old and not here: the repository's own default is meant.
    tm(&machine, &format!("deploy service one -f file://{} --wait", folder.display())).await?;
    ensure!(answer(&machine, "one").await? == "from-git");
    tm(&machine, &format!("deploy service two -f file://{} --revision release", folder.display())).await?;
    let none = machine
        .tm([
            "deploy",
            "service",
            "x",
            "--revision",
            "nothing",
            "-f",
            &format!("file://{}", folder.display()),
        ])
        .await;
    ensure!(none.code == 1 && none.stderr.contains("hint:"), "{none:?}");
    Ok(())
}

#[tokio::test]
async fn an_image_that_was_built_only() -> Result<()> {
    if tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let folder = shell_function(&machine, "source", "echo built");
    let image = tm(&machine, &format!("deploy service one -f {} --build-only", folder.display())).await?;
    let (name, _) = image.split_once("/one@sha256:").context("an image by digest")?;
    ensure!(name.ends_with(&format!("/{}", machine.namespace())), "{image}");
    let services = machine.tm(["get", "services"]).await;
    ensure!(services.stderr.contains("No services found"), "{services:?}");
    tm(&machine, &format!("deploy service two -f {} --wait", image.trim())).await?;
    ensure!(answer(&machine, "two").await? == "built");
    let none = format!("{name}/none:1");
    let missing = machine.tm(["deploy", "service", "three", "-f", &none, "--wait"]).await;
    ensure!(missing.code == 1 && missing.stderr.contains(&none), "{missing:?}");
    Ok(())
}

#[tokio::test]
async fn an_installed_task_from_a_path_and_from_a_url() -> Result<()> {
    if tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let yaml = tm_testkit::machine::repository().join("build-tasks/tasks/custom.yaml");
    tm(&machine, &format!("deploy task mine -f {}", yaml.display())).await?;
    let url = serve_once(&yaml)?;
    tm(&machine, &format!("deploy task theirs -f {url}")).await?;
    let tasks = tm(&machine, "get tasks").await?;
    ensure!(tasks.contains("mine") && tasks.contains("theirs"), "{tasks}");
    let folder = shell_function(&machine, "source", "echo by-task");
    let mut deploy = format!("deploy service one -f {} --runtime mine --wait", folder.display());
    if machine.cluster().is_some() {
        // A target's settings are for the Task `custom`; one of another name is told where its base is.
        let base = "get configmap tm-config -n kube-public -o jsonpath={.data.custom\\.BASE_IMAGE}";
        let base = machine.kubectl(base.split(' ')).await?;
        deploy += &format!(" --build-argument BASE_IMAGE={}", base.trim());
    }
    tm(&machine, &deploy).await?;
    ensure!(answer(&machine, "one").await? == "by-task");
    tm(&machine, "delete task theirs").await?;
    ensure!(!tm(&machine, "list tasks").await?.contains("theirs"));
    Ok(())
}

/// Serves a file to one client; its URL.
fn serve_once(file: &Path) -> Result<String> {
    let text = fs_err::read_to_string(file)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/task.yaml", listener.local_addr()?);
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 4096];
        let _ = stream.read(&mut request)?;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
    });
    Ok(url)
}

#[tokio::test]
async fn environment_labels_and_secrets() -> Result<()> {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let secret = "create secret generic extra --from-literal=HIDDEN=shh";
    machine.kubectl(secret.split(' ')).await?;
    let folder = shell_function(&machine, "source", r#"echo "$PLAIN $HIDDEN $AWS_LAMBDA_FUNCTION_NAME""#);
    let flags = "-e PLAIN=a=b --env-secret extra -l team=blue -a note=x --concurrency 1 --timeout 20 --wait";
    tm(&machine, &format!("deploy service one -f {} {flags}", folder.display())).await?;
    ensure!(answer(&machine, "one").await? == "a=b shh one");
    let service: Value = serde_json::from_str(&tm(&machine, "get service one -o json").await?)?;
    ensure!(service["metadata"]["labels"]["team"] == "blue", "{service}");
    let template = &service["spec"]["template"];
    ensure!(template["metadata"]["annotations"]["note"] == "x", "{template}");
    ensure!(template["spec"]["containerConcurrency"] == 1, "{template}");
    ensure!(!service.to_string().contains("shh"), "the secret's value is not in the object");
    // What is not said any more is gone.
    tm(&machine, &format!("deploy service one -f {} --env-secret extra --wait", folder.display())).await?;
    let body = answer(&machine, "one").await;
    ensure!(body.is_err() || !body?.starts_with("a=b"), "PLAIN is gone");
    Ok(())
}

/// A log on its way from a container.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_external_extension_beside_the_function() -> Result<()> {
    if tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let folder = function_with_extension(&machine, "echo hello");
    tm(&machine, &format!("deploy service one -f {} --wait", folder.display())).await?;
    ensure!(answer(&machine, "one").await? == "hello");
    wait_for("the extension's lines", LIMIT, async || {
        let log = tm(&machine, "logs one").await?;
        for line in ["EXTENSION\tName: probe\tState: Ready", "probe saw {\"eventType\":\"INVOKE\""] {
            ensure!(log.contains(line), "no `{line}` in {log}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn dry_sends_nothing() -> Result<()> {
    let machine = target().await;
    let folder = shell_function(&machine, "source", "echo x");
    let text = tm(&machine, &format!("deploy service one -f {} --dry", folder.display())).await?;
    ensure!(text.contains("kind: TaskRun") && text.contains("kind: Service"), "{text}");
    for kind in ["services", "taskruns"] {
        let listed = machine.tm(["get", kind]).await;
        ensure!(listed.stderr.contains(&format!("No {kind} found")), "{listed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn handlers_that_throw_and_hang() -> Result<()> {
    if tools::find("python3").is_none() || tools::find("pip3").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let folder = machine.path().join("bad");
    fs_err::create_dir_all(&folder)?;
    let code = "import time\ndef handler(event, context):\n    if event == 'hang':\n        time.sleep(600)\n    raise ValueError('no ' + event)\n";
    fs_err::write(folder.join("main.py"), code)?;
    tm(&machine, &format!("deploy service bad -f {} --timeout 2 --wait", folder.display())).await?;
    let thrown = machine.call("bad", "\"luck\"").await?;
    ensure!(thrown.status == 500 && thrown.header("x-amz-function-error") == Some("Unhandled"), "{thrown:?}");
    ensure!(
        thrown.body.contains("\"errorType\": \"ValueError\"") && thrown.body.contains("no luck"),
        "{thrown:?}"
    );
    let hung = machine.call("bad", "\"hang\"").await?;
    ensure!(hung.status == 504 && hung.body.contains("Task timed out after 2.00 seconds"), "{hung:?}");
    let again = machine.call("bad", "\"luck\"").await?;
    ensure!(again.status == 500 && again.body.contains("no luck"), "the next call works: {again:?}");
    let logs = tm(&machine, "logs bad").await?;
    ensure!(logs.contains("Status: timeout") && logs.contains("REPORT RequestId"), "{logs}");
    Ok(())
}
