//! Source to URL to reply, as a user does it: the real `tm`, its engine, real toolchains, HTTP.

mod bad_input;
mod deploy;
mod events;
mod examples;
mod hardening;
mod interrupt;
mod isolation;
mod lifecycle;
mod registry;
mod setup;

use tm_testkit::machine::Machine;

/// A machine with the `tm` under test.
fn machine() -> Machine {
    Machine::new(env!("CARGO_BIN_EXE_tm"))
}

/// A function that needs no toolchain: a shell script that answers with what `body` prints.
fn shell_function(machine: &Machine, name: &str, body: &str) -> std::path::PathBuf {
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
