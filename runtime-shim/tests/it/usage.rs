//! The command line and the configuration.

use std::process::Command;

use crate::harness::{Setup, wait_for};

fn shim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_runtime-shim"))
}

#[test]
fn help_and_version() {
    let help = shim().arg("--help").output().unwrap();
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("Usage: runtime-shim"));
    let version = shim().arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("runtime-shim {}\n", env!("CARGO_PKG_VERSION"))
    );
    let wrong = shim().arg("--nope").output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let output = shim()
        .env("PORT", "eighty")
        .env("INVOKER_COUNT", "0")
        .env("REQUEST_SIZE_LIMIT", "-1")
        .env("FUNCTION_TTL", "soon")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "much")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @r"
    error: FUNCTION_TTL=`soon`: expected a duration such as `10s`, `1m30s` or `500ms`, or a whole number of seconds
    error: AWS_LAMBDA_FUNCTION_MEMORY_SIZE=`much`: expected a whole number from 1 to 1073741824
    error: PORT=`eighty`: expected a port from 0 to 65535
    error: REQUEST_SIZE_LIMIT=`-1`: expected a whole number from 1 to 100000
    error: INVOKER_COUNT=`0`: expected a whole number from 1 to 1000
    hint: docs/environment.md lists all variables
    ");
}

#[test]
fn a_port_that_is_taken_is_an_error_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut shim = Setup::actor().env("PORT", &port).spawn();
    assert_eq!(shim.wait().code(), Some(1));
    assert!(shim.stderr().contains(&format!("failed to listen on 127.0.0.1:{port}")), "{}", shim.stderr());
}

#[test]
fn lc_02_nobody_is_let_in_before_the_first_init_has_ended() {
    let program = "
wait('go')
while True:
    id, body, headers = next_event()
    respond(id, body)
";
    // A port that is free now is very likely free a moment later.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shim = Setup::python(program).env("PORT", &port.to_string()).spawn();
    shim.wait_log("INIT_START", 1);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is open during the init");
    shim.touch("go");
    wait_for("the port", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
}
