//! Every example of the repository: deployed, called, compared with its `reply.json`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::{
    machine::{Machine, copy_tree, repository},
    tools,
};

use crate::target;

/// Examples, their runtimes, the tools they need, and what a user types besides.
const EXAMPLES: &[(&str, &str, &[&str], &[&str])] = &[
    ("go", "knative-go-runtime", &["go"], &[]),
    ("python", "knative-python-runtime", &["python3"], &[]),
    ("python-requirements", "python", &["python3", "pip3"], &[]),
    ("node", "node", &["node", "npm"], &[]),
    ("bash", "custom", &["curl"], &["--build-argument", "HANDLER=function.handler"]),
    ("rust", "custom", &["cargo"], &[]),
];

/// All on one machine, so that the runtimes' clients are fetched once; each failure is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_gives_its_reply() {
    let machine = target().await;
    let mut failures = Vec::new();
    for &(name, runtime, wanted, extra) in EXAMPLES {
        // A cluster builds in images of its own, but for what is compiled here.
        let here = machine.cluster().is_none() || name == "rust";
        if here && wanted.iter().any(|tool| tools::find(tool).is_none()) {
            continue;
        }
        if let Err(error) = example(&machine, name, runtime, extra).await {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_folder_is_listed() {
    let folders = fs_err::read_dir(repository().join("examples")).expect("the folder is there");
    for folder in folders.flatten().filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().into_string().expect("a plain name");
        assert!(EXAMPLES.iter().any(|(listed, ..)| *listed == name), "examples/{name} is not tested");
    }
}

async fn example(machine: &Machine, name: &str, runtime: &str, extra: &[&str]) -> Result<()> {
    let source = repository().join("examples").join(name);
    let from = if name == "rust" { compiled(machine, &source).await? } else { source.clone() };
    let service = format!("ex-{name}");
    let mut args = vec!["deploy", "service", &service, "--runtime", runtime, "--wait", "-f"];
    let from = from.display().to_string();
    args.push(&from);
    args.extend(extra);
    let url = machine.tm_ok(&args).await?;
    ensure!(url.starts_with(&format!("http://{}", machine.host(&service))), "no URL on stdout: {url}");
    let event = fs_err::read_to_string(source.join("event.json"))?;
    let answer = machine.call(&service, &event).await?;
    let wanted: Value = serde_json::from_str(&fs_err::read_to_string(source.join("reply.json"))?)?;
    let log = machine.tm_ok(["logs", &service]).await?;
    let got: Value = serde_json::from_str(&answer.body)
        .with_context(|| format!("{} {}\nlog:\n{log}", answer.status, answer.body))?;
    ensure!(answer.status == 200 && got == wanted, "{} {got}, wanted {wanted}\nlog:\n{log}", answer.status);
    Ok(())
}

/// Builds the Rust example as its README says, in a copy, with this machine's own cargo.
async fn compiled(machine: &Machine, source: &Path) -> Result<PathBuf> {
    let copy = machine.path().join("rust");
    copy_tree(source, &copy)?;
    let target = repository().join("target/examples-rust");
    let mut command = tokio::process::Command::new(env!("CARGO"));
    command.args(["build", "--target", "host-tuple", "--target-dir"]).arg(&target).current_dir(&copy);
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
