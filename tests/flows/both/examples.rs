//! Every example of the repository: deployed, called, compared with its `reply.json`; changed, deployed again and called; deleted.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::{
    machine::{Machine, copy_tree, repository, wait_for},
    tools,
};

use crate::target;

/// Longest wait for a target to route calls anew.
const LIMIT: Duration = Duration::from_secs(30);

/// An example, and what is known of it.
struct Example {
    name: &'static str,
    runtime: &'static str,
    /// Tools it needs.
    tools: &'static [&'static str],
    /// What a user types besides.
    extra: &'static [&'static str],
    /// A word of its source and its reply, and what an update puts in its place.
    update: (&'static str, &'static str),
}

const EXAMPLES: &[Example] = &[
    Example {
        name: "go",
        runtime: "knative-go-runtime",
        tools: &["go"],
        extra: &[],
        update: ("Hello", "Goodbye"),
    },
    Example {
        name: "python",
        runtime: "knative-python-runtime",
        tools: &["python3"],
        extra: &[],
        update: ("Hello", "Goodbye"),
    },
    Example {
        name: "python-requirements",
        runtime: "python",
        tools: &["python3", "pip3"],
        extra: &[],
        update: ("ascii", "encoded"),
    },
    Example {
        name: "node",
        runtime: "node",
        tools: &["node", "npm"],
        extra: &[],
        update: ("milliseconds", "span"),
    },
    Example {
        name: "bash",
        runtime: "custom",
        tools: &["curl"],
        extra: &["--build-argument", "HANDLER=function.handler"],
        update: ("echo", "again"),
    },
    Example { name: "rust", runtime: "custom", tools: &["cargo"], extra: &[], update: ("Hello", "Goodbye") },
];

/// All on one machine, so that the runtimes' clients are fetched once; each failure is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_gives_its_reply() {
    let machine = target().await;
    let mut failures = Vec::new();
    for example in EXAMPLES {
        // A cluster builds in images of its own, but for what is compiled here.
        let here = machine.cluster().is_none() || example.name == "rust";
        if here && example.tools.iter().any(|tool| tools::find(tool).is_none()) {
            continue;
        }
        if let Err(error) = life(&machine, example).await {
            failures.push(format!("{}: {error:#}", example.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_folder_is_listed() {
    let folders = fs_err::read_dir(repository().join("examples")).expect("the folder is there");
    for folder in folders.flatten().filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().into_string().expect("a plain name");
        assert!(EXAMPLES.iter().any(|example| example.name == name), "examples/{name} is not tested");
    }
}

/// Deployed, changed, deleted.
async fn life(machine: &Machine, example: &Example) -> Result<()> {
    let service = format!("ex-{}", example.name);
    let copy = machine.path().join(example.name);
    copy_tree(&repository().join("examples").join(example.name), &copy)?;
    deploy(machine, example, &service, &copy).await?;
    answers(machine, &service, &copy).await?;
    let (old, new) = example.update;
    for file in ["main.go", "handler.py", "main.py", "index.js", "function.sh", "src/main.rs", "reply.json"] {
        let file = copy.join(file);
        if file.exists() {
            fs_err::write(&file, fs_err::read_to_string(&file)?.replace(old, new))?;
        }
    }
    deploy(machine, example, &service, &copy).await?;
    answers(machine, &service, &copy).await.context("after the update")?;
    let revisions = machine.tm_ok(["get", "revisions", "-o", "name"]).await?;
    let ours = revisions.lines().filter(|line| line.contains(&format!("{service}-0"))).count();
    ensure!(ours == 2, "an update is a revision of its own: {revisions}");
    machine.tm_ok(["delete", "service", &service]).await?;
    wait_for("its address to lead nowhere", LIMIT, async || {
        let answer = machine.call(&service, "{}").await?;
        ensure!(answer.status == 404, "{answer:?}");
        Ok(())
    })
    .await?;
    let gone = machine.tm(["get", "service", &service]).await;
    ensure!(gone.code == 1 && gone.stderr.contains("there is no service"), "{gone:?}");
    Ok(())
}

async fn deploy(machine: &Machine, example: &Example, service: &str, source: &Path) -> Result<()> {
    let from = if example.name == "rust" { compiled(source).await? } else { source.to_owned() };
    let from = from.display().to_string();
    let mut args = vec!["deploy", "service", service, "--runtime", example.runtime, "--wait", "-f", &from];
    args.extend(example.extra);
    let url = machine.tm_ok(&args).await?;
    ensure!(url.starts_with(&format!("http://{}", machine.host(service))), "no URL on stdout: {url}");
    Ok(())
}

/// It gives the reply of its folder. Soon: the revision before may still answer the first call after an update.
async fn answers(machine: &Machine, service: &str, source: &Path) -> Result<()> {
    let event = fs_err::read_to_string(source.join("event.json"))?;
    let wanted: Value = serde_json::from_str(&fs_err::read_to_string(source.join("reply.json"))?)?;
    let asked = wait_for("the reply", LIMIT, async || {
        let answer = machine.call(service, &event).await?;
        let got: Value = serde_json::from_str(&answer.body)
            .with_context(|| format!("{} {}", answer.status, answer.body))?;
        ensure!(answer.status == 200 && got == wanted, "{} {got}, wanted {wanted}", answer.status);
        Ok(())
    });
    match asked.await {
        Ok(()) => Ok(()),
        Err(error) => {
            let log = machine.tm(["logs", service]).await.stdout;
            Err(error.context(format!("log:\n{log}")))
        }
    }
}

/// Builds the Rust example as its README says with this machine's own cargo.
async fn compiled(copy: &Path) -> Result<PathBuf> {
    let target = repository().join("target/examples-rust");
    let mut command = tokio::process::Command::new(env!("CARGO"));
    command.args(["build", "--target", "host-tuple", "--target-dir"]).arg(&target).current_dir(copy);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_TARGET_DIR");
    let output = command.output().await?;
    ensure!(output.status.success(), "cargo build: {}", String::from_utf8_lossy(&output.stderr));
    let binary = fs_err::read_dir(&target)?
        .flatten()
        .map(|entry| entry.path().join("debug/bootstrap"))
        .find(|path| path.is_file())
        .context("cargo made no bootstrap")?;
    let out = copy.join("out");
    fs_err::create_dir_all(&out)?;
    fs_err::copy(binary, out.join("bootstrap"))?;
    Ok(out)
}
