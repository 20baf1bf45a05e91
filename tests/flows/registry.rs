//! A registry of somebody else's, with a password: Debian's docker-registry and htpasswd.

mod front;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tm_testkit::{
    machine::{Machine, call, repository, wait_for},
    tools,
};
use tokio::process::{Child, Command};

use crate::{machine, support::shell_function};

/// A running registry; killed when dropped.
pub(crate) struct Registry {
    /// `host:port`.
    pub(crate) address: String,
    _process: Child,
}

/// Starts it; `None` when the machine has none (which is said).
pub(crate) async fn start(machine: &Machine) -> Result<Option<Registry>> {
    let (Some(program), Some(htpasswd)) = (tools::find("docker-registry"), tools::find("htpasswd")) else {
        return Ok(None);
    };
    let folder = machine.path().join("registry");
    fs_err::create_dir_all(&folder)?;
    let users = Command::new(htpasswd).args(["-nbB", "u", "p"]).output().await?;
    fs_err::write(folder.join("htpasswd"), users.stdout)?;
    // The port is free now; the registry takes none of its own choice.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {dir}/data}}}}\n\
         http: {{addr: '{address}'}}\nauth: {{htpasswd: {{realm: test, path: {dir}/htpasswd}}}}\n",
        dir = folder.display()
    );
    serve(program, &folder, address, config).await.map(Some)
}

async fn serve(program: PathBuf, folder: &Path, address: String, config: String) -> Result<Registry> {
    fs_err::write(folder.join("config.yml"), config)?;
    let process = Command::new(program)
        .arg("serve")
        .arg(folder.join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    wait_for("the registry", Duration::from_secs(20), async || {
        tokio::net::TcpStream::connect(&address).await.context("it listens").map(drop)
    })
    .await?;
    Ok(Registry { address, _process: process })
}

/// Starts one with TLS, whose certificate an authority of its own has signed, and without a password; its address and the
/// authority's file.
pub(crate) async fn start_tls(machine: &Machine) -> Result<Option<(Registry, String)>> {
    let (Some(program), Some(openssl)) = (tools::find("docker-registry"), tools::find("openssl")) else {
        return Ok(None);
    };
    let folder = machine.path().join("registry-tls");
    fs_err::create_dir_all(&folder)?;
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, key, certificate) = (file("ca.pem"), file("key.pem"), file("certificate.pem"));
    fs_err::write(file("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    let steps = [
        format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout {key}.ca -out {ca}"),
        format!("req -newkey rsa:2048 -nodes -subj /CN=registry -keyout {key} -out {certificate}.request"),
        format!(
            "x509 -req -days 2 -in {certificate}.request -CA {ca} -CAkey {key}.ca -CAcreateserial -extfile {names} -out {certificate}",
            names = file("names"),
        ),
    ];
    for step in steps {
        let ran = Command::new(&openssl).args(step.split(' ')).output().await?;
        ensure!(ran.status.success(), "openssl {step}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n\
         http: {{addr: '{address}', tls: {{certificate: {certificate}, key: {key}}}}}\n",
        data = file("data"),
    );
    Ok(Some((serve(program, &folder, address, config).await?, ca)))
}

/// Stores the credentials of user `u`.
pub(crate) async fn set_auth(machine: &Machine, name: &str, registry: &str, password: &str) -> Result<()> {
    let args =
        ["set", "registry-auth", name, "--registry", registry, "--username", "u", "--password", password];
    machine.tm_ok(args).await.map(drop)
}

#[tokio::test]
async fn deploys_through_a_registry_with_a_password() -> Result<()> {
    if tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = machine();
    let Some(registry) = start(&machine).await? else { return Ok(()) };
    set_auth(&machine, "good", &registry.address, "p").await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let args = ["deploy", "service", "hello", "-f", &folder, "--registry-secret", "good", "--wait"];
    machine.tm_ok(args).await?;
    let answer = machine.call("hello.default", "{}").await?;
    ensure!(answer.body == "1", "{answer:?}");
    let service = machine.tm_ok(["get", "service", "hello", "-o", "json"]).await?;
    ensure!(service.contains(&format!("{}/u/hello@sha256:", registry.address)), "{service}");
    ensure!(!service.contains("\"p\""), "no password anywhere");
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_or_a_dead_registry_is_said_before_the_build() -> Result<()> {
    if tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = machine();
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy = async |secret: &str| {
        machine.tm(["deploy", "service", "hello", "-f", &folder, "--registry-secret", secret]).await
    };
    let unset = deploy("unset").await;
    ensure!(unset.code == 1 && unset.stderr.contains("there is no secret `unset`"), "{unset:?}");

    set_auth(&machine, "dead", "127.0.0.1:1", "p").await?;
    let dead = deploy("dead").await;
    ensure!(dead.code == 1 && dead.stderr.contains("127.0.0.1:1"), "{dead:?}");
    ensure!(!dead.stderr.contains("Uploading"), "the build began: {dead:?}");

    if let Some(registry) = start(&machine).await? {
        set_auth(&machine, "bad", &registry.address, "secret-and-wrong").await?;
        let bad = deploy("bad").await;
        ensure!(bad.code == 1 && bad.stderr.contains(&registry.address), "{bad:?}");
        ensure!(bad.stderr.contains("hint:"), "{bad:?}");
        ensure!(!bad.stderr.contains("Uploading"), "the build began: {bad:?}");
        ensure!(!bad.stderr.contains("secret-and-wrong"), "the password is shown: {bad:?}");
    }
    let services = machine.tm(["get", "services"]).await;
    ensure!(services.stderr.contains("No services found"), "{services:?}");
    let runs = machine.tm(["get", "taskruns"]).await;
    ensure!(runs.stderr.contains("No taskruns found"), "{runs:?}");
    Ok(())
}

/// Also where nobody gave a secret.
#[tokio::test]
async fn a_dead_registry_is_said_before_the_build() -> Result<()> {
    let machine = machine();
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let ran =
        machine.tm(["deploy", "service", "hello", "-f", &folder, "--registry-host", "127.0.0.1:1"]).await;
    crate::support::refused(&ran, 1, &["in step `check-push`", "127.0.0.1:1", "hint:"]);
    ensure!(!ran.stderr.contains("Uploading"), "the build began: {ran:?}");
    crate::support::nothing_left(&machine).await;
    Ok(())
}

/// The workshop's lines, word for word: an installed Task by its old name, a registry with a password, any domain.
#[tokio::test]
async fn the_workshop() -> Result<()> {
    if tools::find("go").is_none() {
        return Ok(());
    }
    let machine = machine();
    let Some(registry) = start(&machine).await? else { return Ok(()) };
    let at = |path: &str| repository().join(path).display().to_string();
    machine.tm_ok(["deploy", "task", "-f", &at("build-tasks/tasks/go.yaml")]).await?;
    set_auth(&machine, "gcr-image-puller", &registry.address, "p").await?;
    let go = at("examples/go");
    let line = ["deploy", "service", "go-lambda", "-f", &go, "--build-template", "knative-go-runtime"];
    let flags = ["--registry-secret", "gcr-image-puller", "--wait", "--debug"];
    let ran = machine.tm(line.iter().chain(&flags)).await;
    ensure!(ran.code == 0, "{ran:?}");
    ensure!(ran.stderr.contains("runtime knative-go-runtime is the installed Task go"), "{ran:?}");
    let ingress = machine.functions().await?;
    let answer = call(ingress, "go-lambda.default.example.com", r#"{"Name": "Foo"}"#).await?;
    ensure!((answer.status, answer.body.as_str()) == (200, r#""Hello Foo!""#), "{answer:?}");
    Ok(())
}

/// The user is known and may not push there: said before the build, and elsewhere the same user may.
#[tokio::test]
async fn no_right_to_push_is_said_before_the_build() -> Result<()> {
    if tools::find("curl").is_none() {
        return Ok(());
    }
    let machine = machine();
    let Some(registry) = start(&machine).await? else { return Ok(()) };
    let front = front::Front::start(&registry.address, "u/locked").await?;
    set_auth(&machine, "front", &front.address.to_string(), "p").await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy = async |name: &str| {
        machine.tm(["deploy", "service", name, "-f", &folder, "--registry-secret", "front", "--wait"]).await
    };
    let locked = deploy("locked").await;
    ensure!(locked.code == 1 && locked.stdout.is_empty(), "{locked:?}");
    for word in ["the build failed in step `check-push`", "u/locked", "DENIED", "hint:", "right to push"] {
        ensure!(locked.stderr.contains(word), "no `{word}` in:\n{}", locked.stderr);
    }
    ensure!(!locked.stderr.contains("Uploading"), "the build began: {locked:?}");
    crate::support::nothing_left(&machine).await;

    let open = deploy("open").await;
    ensure!(open.code == 0, "{open:?}");
    ensure!(machine.call("open.default", "{}").await?.body == "1");
    Ok(())
}

/// The password is asked for on a terminal and not shown there.
#[tokio::test]
async fn the_password_prompt_shows_nothing() -> Result<()> {
    use tokio::io::AsyncWriteExt;
    let Some(script) = tools::find("script") else { return Ok(()) };
    let machine = machine();
    machine.tm_ok(["local", "start"]).await?;
    let line = format!("{} set registry-auth asked --registry r.example.com", env!("CARGO_BIN_EXE_tm"));
    let mut command = machine.command(script);
    // `script` gives the command a terminal; what is written to its input is what a user types.
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("an input")?;
    let mut output = child.stdout.take().context("an output")?;
    let mut seen = String::new();
    // A prompt forgets what was typed before it, so each answer waits for its question.
    for (question, answer) in [("Username", "somebody\n"), ("Password", "open-sesame\n")] {
        until(&mut output, &mut seen, question).await?;
        input.write_all(answer.as_bytes()).await?;
    }
    until(&mut output, &mut seen, "Registry credentials set").await?;
    ensure!(!seen.contains("open-sesame"), "the password is shown: {seen}");
    drop(input);
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await??;
    ensure!(status.success(), "{seen}");
    let secret = machine.kubectl(["get", "secret", "asked", "-o", "json"]).await?;
    let data: serde_json::Value = serde_json::from_str(&secret)?;
    ensure!(
        data["data"]["config.json"].is_string() && data["data"][".dockerconfigjson"].is_string(),
        "{secret}"
    );
    let account = machine.kubectl(["get", "serviceaccount", "default", "-o", "json"]).await?;
    ensure!(account.contains("\"asked\""), "pods pull with it: {account}");
    Ok(())
}

/// Reads what the terminal shows until it shows `wanted`.
async fn until(output: &mut tokio::process::ChildStdout, seen: &mut String, wanted: &str) -> Result<()> {
    use tokio::io::AsyncReadExt;
    let mut chunk = [0; 1024];
    while !seen.contains(wanted) {
        let read = tokio::time::timeout(Duration::from_secs(30), output.read(&mut chunk)).await;
        let count = read.with_context(|| format!("no `{wanted}` in: {seen}"))??;
        ensure!(count > 0, "it ended before `{wanted}`: {seen}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    Ok(())
}
