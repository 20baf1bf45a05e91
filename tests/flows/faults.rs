//! What is wrong with the machine or the engine itself.

use anyhow::Result;

use crate::{
    machine,
    support::{nothing_left, refused},
};

#[tokio::test]
async fn a_taken_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let machine = machine().with_env("TM_HTTP_LISTEN", &address);
    let ran = machine.tm(["local", "start"]).await;
    refused(&ran, 1, &["failed to listen", &address, "hint:", "--http-listen"]);
    assert!(machine.processes().is_empty());
}

#[tokio::test]
async fn a_corrupt_store() {
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("it starts");
    machine.tm_ok(["local", "stop"]).await.expect("it stops");
    fs_err::write(machine.state().join("store.redb"), "this is no database").expect("it writes");
    let ran = machine.tm(["local", "start"]).await;
    refused(&ran, 1, &["the engine did not start", "store", "hint:"]);
}

#[tokio::test]
async fn an_engine_of_another_version() {
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("it starts");
    let lock = machine.path().join("run/engine.lock");
    let text = fs_err::read_to_string(&lock).expect("it reads");
    let version = env!("CARGO_PKG_VERSION");
    fs_err::write(&lock, text.replace(version, "0.0.7")).expect("it writes");
    refused(&machine.tm(["get", "services"]).await, 1, &["0.0.7", version, "hint:", "tm local stop"]);
    machine.tm_ok(["local", "stop"]).await.expect("any version can be stopped");
}

#[tokio::test]
async fn a_missing_toolchain_is_named() -> Result<()> {
    // The engine inherits this PATH, and builds look for their tools there.
    let machine = machine().with_env("PATH", "/nonexistent");
    let folder = machine.path().join("go");
    fs_err::create_dir_all(&folder)?;
    fs_err::write(folder.join("main.go"), "package main\nfunc main() {}\n")?;
    let ran = machine.tm(["deploy", "service", "a", "-f", folder.to_str().expect("text")]).await;
    refused(&ran, 1, &["`go`", "hint:"]);
    nothing_left(&machine).await;
    Ok(())
}
