//! What the engine tells its user: Events, isolation, labels of Revisions that no traffic reaches, its own log.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::{
    machine::{Machine, wait_for},
    tools,
};

use crate::{machine, support::shell_function};

/// Longest wait for something the engine does by itself.
const LIMIT: Duration = Duration::from_secs(60);

async fn kubectl(machine: &Machine, line: &str) -> Result<String> {
    machine.kubectl(line.split(' ')).await
}

async fn json(machine: &Machine, line: &str) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl(machine, &format!("{line} -o json")).await?)?)
}

/// `Kind Reason Type` of every Event.
async fn told(machine: &Machine) -> Result<Vec<String>> {
    let list = json(machine, "get events").await?;
    let items = list["items"].as_array().context("a list")?.iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |e: &Value| [&e["involvedObject"]["kind"], &e["reason"], &e["type"]].map(text).join(" ");
    Ok(items.map(line).collect())
}

async fn wait_told(machine: &Machine, wanted: &[&str]) -> Result<()> {
    wait_for("the events", LIMIT, async || {
        let told = told(machine).await?;
        let missing: Vec<_> = wanted.iter().filter(|line| !told.iter().any(|seen| seen == *line)).collect();
        ensure!(missing.is_empty(), "no {missing:?} in {told:?}");
        Ok(())
    })
    .await
}

async fn deploy(machine: &Machine, body: &str) -> Result<()> {
    let folder = shell_function(machine, "hello", body).display().to_string();
    machine.tm_ok(["deploy", "service", "hello", "-f", &folder, "--wait"]).await.map(drop)
}

#[tokio::test]
async fn a_deploy_is_told_and_described() -> Result<()> {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = machine();
    deploy(&machine, "echo 1").await?;
    let wanted = [
        "Pod Scheduled Normal",
        "Pod Pulled Normal",
        "Pod Created Normal",
        "Pod Started Normal",
        "TaskRun Started Normal",
        "TaskRun Succeeded Normal",
        "Service Created Normal",
        "Configuration Created Normal",
        "Configuration LatestReadyUpdate Normal",
        "Revision RevisionReady Normal",
    ];
    wait_told(&machine, &wanted).await?;
    let pods = kubectl(&machine, "describe pods -l serving.knative.dev/service=hello").await?;
    ensure!(pods.contains("Container started") && pods.contains("tm.local/isolation:"), "{pods}");

    let described = machine.tm(["describe", "service", "hello"]).await;
    ensure!(described.code == 0 && described.stdout.contains("kind: Service"), "{described:?}");
    ensure!(!described.stdout.contains("Events"), "data and nothing else: {described:?}");
    let status = machine.status().await?["isolation"].as_str().unwrap_or_default().to_owned();
    let word = if status.contains("mount and PID namespaces") { "namespaces" } else { "plain" };
    for part in [format!("Isolation: {word}"), "RevisionReady".into(), "Started".into(), "pod/hello-".into()]
    {
        ensure!(described.stderr.contains(&part), "no `{part}` in {}", described.stderr);
    }
    let quiet = machine.tm(["describe", "service", "hello", "-o", "json"]).await;
    ensure!(quiet.code == 0 && !quiet.stderr.contains("Events"), "{quiet:?}");

    // Where the traffic does not go any more a Revision begins to grow old.
    deploy(&machine, "echo 2").await?;
    wait_for("the first Revision's label", LIMIT, async || {
        let revision = json(&machine, "get revision hello-00001").await?;
        let metadata = &revision["metadata"];
        ensure!(metadata["labels"]["serving.knative.dev/routingState"] == "reserve", "{metadata}");
        ensure!(
            metadata["annotations"]["serving.knative.dev/routingStateModified"].is_string(),
            "{metadata}"
        );
        Ok(())
    })
    .await?;
    let second = json(&machine, "get revision hello-00002").await?;
    ensure!(second["metadata"]["labels"]["serving.knative.dev/routingState"] == "active", "{second}");
    Ok(())
}

#[tokio::test]
async fn trouble_is_told_as_a_warning() -> Result<()> {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = machine();
    let folder = shell_function(&machine, "broken", "echo 1").display().to_string();
    // The shim refuses that and ends.
    let args = ["deploy", "service", "broken", "-f", &folder, "-e", "INVOKER_COUNT=none"];
    machine.tm_ok(args).await?;
    wait_told(&machine, &["Pod BackOff Warning"]).await?;
    machine.tm_ok(["delete", "service", "broken"]).await?;
    let task = "apiVersion: tekton.dev/v1\nkind: TaskRun\nmetadata: {name: fails}\nspec:\n  taskSpec:\n    steps:\n      - {name: a, image: tm.local/host, command: ['false']}\n";
    let file = machine.path().join("run.yaml");
    fs_err::write(&file, task)?;
    kubectl(&machine, &format!("create -f {}", file.display())).await?;
    wait_told(&machine, &["TaskRun Failed Warning"]).await
}

/// What somebody else made is not taken over (Knative's service reconciler); it is taken once it is gone.
#[tokio::test]
async fn a_foreign_configuration_is_left_alone() -> Result<()> {
    if tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = machine();
    machine.tm_ok(["local", "start"]).await?;
    let template =
        "  template:\n    spec:\n      containers: [{image: tm.local/host, command: [sleep], args: ['1']}]\n";
    let object = |kind: &str| {
        format!(
            "apiVersion: serving.knative.dev/v1\nkind: {kind}\nmetadata: {{name: taken}}\nspec:\n{template}"
        )
    };
    for kind in ["Configuration", "Service"] {
        let file = machine.path().join(format!("{kind}.yaml"));
        fs_err::write(&file, object(kind))?;
        kubectl(&machine, &format!("create -f {}", file.display())).await?;
    }
    wait_for("the condition", LIMIT, async || {
        let service = json(&machine, "get ksvc taken").await?;
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        for type_ in ["ConfigurationsReady", "Ready"] {
            let found = conditions.iter().find(|condition| condition["type"] == type_);
            let found = found.context(format!("no {type_} in {service}"))?;
            ensure!(found["status"] == "False" && found["reason"] == "NotOwned", "{found}");
            let message = "There is an existing Configuration \"taken\" that we do not own.";
            ensure!(found["message"] == message, "{found}");
        }
        Ok(())
    })
    .await?;
    let configuration = json(&machine, "get configuration taken").await?;
    ensure!(configuration["metadata"]["ownerReferences"].is_null(), "{configuration}");
    kubectl(&machine, "delete configuration taken").await?;
    wait_for("the Service's own Configuration", LIMIT, async || {
        let configuration = json(&machine, "get configuration taken").await?;
        ensure!(configuration["metadata"]["ownerReferences"][0]["kind"] == "Service", "{configuration}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_log_begins_anew_when_it_is_large() -> Result<()> {
    let machine = machine();
    fs_err::create_dir_all(machine.state())?;
    let log = machine.state().join("engine.log");
    fs_err::write(&log, "an old line\n".repeat(800_000))?;
    machine.tm_ok(["local", "start"]).await?;
    let before = fs_err::metadata(machine.state().join("engine.log.1"))?.len();
    ensure!(before > 8 << 20, "{before} bytes went aside");
    machine.tm_ok(["local", "stop"]).await?;
    let text = machine.tm_ok(["local", "logs"]).await?;
    ensure!(text.contains("the engine stops") && !text.contains("an old line"), "{text}");

    // The reason of an engine that does not start is found in the new file.
    fs_err::write(&log, "an old line\n".repeat(800_000))?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let failed = machine.tm(["local", "start", "--http-listen", &address]).await;
    ensure!(failed.code == 1 && failed.stderr.contains("failed to listen"), "{failed:?}");
    Ok(())
}
