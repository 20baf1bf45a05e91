//! What flows on every target need.

use anyhow::Result;
use serde_json::Value;
use tm_testkit::machine::{Machine, Ran};

/// A function that needs no toolchain: a shell script that answers with what `body` prints.
pub(crate) fn shell_function(machine: &Machine, name: &str, body: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = machine.path().join(name);
    fs_err::create_dir_all(&folder).expect("a folder can be made");
    let script = format!(
        r#"#!/bin/sh
set -eu
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
headers=$(mktemp)
while true; do
    event=$(curl -sS -D "$headers" "$api/invocation/next")
    id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
    answer=$({body})
    curl -sS -o /dev/null "$api/invocation/$id/response" -d "$answer"
done
"#
    );
    let bootstrap = folder.join("bootstrap");
    fs_err::write(&bootstrap, script).expect("a file can be written");
    fs_err::set_permissions(&bootstrap, PermissionsExt::from_mode(0o755)).expect("its mode can be set");
    folder
}

/// Says what it is told of.
const PROBE: &str = r#"#!/bin/sh
set -eu
api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
headers=$(mktemp)
curl -sS -o /dev/null -D "$headers" "$api/register" -H "Lambda-Extension-Name: ${0##*/}" -d '{"events":["INVOKE","SHUTDOWN"]}'
id=$(grep -i Lambda-Extension-Identifier "$headers" | tr -d '[:space:]' | cut -d: -f2)
while true; do
    event=$(curl -sS "$api/event/next" -H "Lambda-Extension-Identifier: $id")
    echo "probe saw $event"
    case $event in *SHUTDOWN*) exit 0 ;; esac
done
"#;

/// The same with an external extension that says what it is told of.
pub(crate) fn function_with_extension(machine: &Machine, body: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = shell_function(machine, "beside", body);
    let probe = folder.join("extensions/probe");
    fs_err::create_dir_all(folder.join("extensions")).expect("a folder can be made");
    fs_err::write(&probe, PROBE).expect("a file can be written");
    fs_err::set_permissions(&probe, PermissionsExt::from_mode(0o755)).expect("its mode can be set");
    folder
}

/// The command must fail with that code, naming each of `words` on stderr.
#[track_caller]
pub(crate) fn refused(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert_eq!(ran.stdout, "", "data of a failed command");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in:\n{}", ran.stderr);
    }
}

/// No service and no TaskRun may be left.
pub(crate) async fn nothing_left(machine: &Machine) {
    for kind in ["services", "taskruns"] {
        let ran = machine.tm(["get", kind]).await;
        assert!(ran.stderr.contains(&format!("No {kind} found")), "{ran:?}");
    }
}

/// A folder of the machine with these files; its path.
pub(crate) fn folder(machine: &Machine, name: &str, files: &[(&str, &str)]) -> String {
    let folder = machine.path().join(name);
    fs_err::create_dir_all(&folder).expect("a folder can be made");
    for (file, text) in files {
        fs_err::write(folder.join(file), text).expect("a file can be written");
    }
    folder.display().to_string()
}

/// Deploys such a function and waits until it is ready; its URL.
pub(crate) async fn deploy(machine: &Machine, name: &str, body: &str, extra: &[&str]) -> String {
    let folder = shell_function(machine, name, body).display().to_string();
    let mut args = vec!["deploy", "service", name, "-f", &folder, "--wait"];
    args.extend(extra);
    machine.tm_ok(&args).await.expect("it deploys")
}

/// What a function answers to `{}`.
pub(crate) async fn reply(machine: &Machine, name: &str) -> String {
    machine.call(name, "{}").await.expect("it answers").body
}

/// Applies YAML or JSON with kubectl.
pub(crate) async fn apply(machine: &Machine, text: &str) -> Result<()> {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile_in(machine.path())?;
    fs_err::write(file.path(), text)?;
    machine.kubectl(["apply", "--server-side", "-f", &file.path().display().to_string()]).await.map(drop)
}

/// What kubectl gets, one object (`kind/name`) or a list.
pub(crate) async fn get(machine: &Machine, what: &str) -> Result<Value> {
    Ok(serde_json::from_str(&machine.kubectl(["get", what, "-o", "json"]).await?)?)
}
