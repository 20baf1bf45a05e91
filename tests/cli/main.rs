//! What `tm` prints: snapshots of help and messages. `INSTA_UPDATE=always cargo test -p tm --test cli` renews them.

mod delete;
mod doctor;
mod dry;
mod environment;
mod follow;
mod git;
mod streams;
mod target;

use std::process::Command;

/// Runs `tm` without a terminal, a home or an engine; both streams and the exit code as one text.
fn tm(line: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tm"))
        .args(line.split_whitespace())
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .output()
        .expect("tm runs");
    format!(
        "exit code: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )
}

macro_rules! snapshots {
    ($($name:ident: $line:expr,)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(tm($line));
        })*
    };
}

snapshots! {
    help: "--help",
    help_deploy: "deploy --help",
    help_deploy_service: "deploy service --help",
    help_deploy_task: "deploy task --help",
    help_get: "get --help",
    help_delete: "delete --help",
    help_logs: "logs --help",
    help_set_registry_auth: "set registry-auth --help",
    help_setup: "setup --help",
    help_doctor: "doctor --help",
    help_local: "local --help",
    help_local_start: "local start --help",
    version_flag: "--version",
    no_command: "",
    unknown_command: "deplyo",
    unknown_kind: "get thing",
    missing_name: "deploy service",
    bad_name: "deploy service Big_Name",
    bad_env: "deploy service a -e X",
    bad_duration: "deploy service a --build-timeout never",
    no_source: "deploy service a -f ./nowhere",
    password_missing: "set registry-auth r --registry h --username u",
    no_engine: "local status",
    old_deploy_taskrun: "deploy taskrun x -t go -f .",
    old_pipelineresource: "deploy pipelineresource x --url https://h/r.git --rev main",
    old_channel: "get channels",
    old_git_auth: "set git-auth",
    old_generate: "generate python hello",
    old_push: "push -t token",
    old_deploy_manifest: "deploy -f serverless.yaml",
    old_delete_manifest: "delete -f serverless.yaml hello",
}
