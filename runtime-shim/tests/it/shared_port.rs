//! One Runtime API port for all workers (`INTERNAL_API_PORT`, RT-43).

use std::io::{Read as _, Write as _};

use crate::harness::{Setup, Shim, act, wait_for};
use crate::http;

/// A shim with a shared port that was free a moment ago, and that port.
fn start() -> (Shim, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let setup = Setup::actor().env("INTERNAL_API_PORT", &port.to_string()).env("INVOKER_COUNT", "3");
    (setup.start(), port)
}

#[test]
fn rt_43_workers_on_one_port_are_told_apart() {
    let (shim, port) = start();
    let names = ["a", "b", "c"];
    let waiting = names.map(|name| shim.invoke_later(&act("wait", &[("started", name), ("until", "go")])));
    for name in names {
        shim.wait_file(name);
    }
    shim.touch("go");
    for thread in waiting {
        assert_eq!(thread.join().unwrap().status, 200);
    }
    let env = shim.invoke(&act("env", &[])).json();
    assert_eq!(env["AWS_LAMBDA_RUNTIME_API"], format!("127.0.0.1:{port}"));
}

#[test]
fn a_crash_on_the_shared_port_fails_its_own_invoke_only() {
    let (shim, _) = start();
    let waiting = shim.invoke_later(&act("wait", &[("started", "started"), ("until", "go")]));
    shim.wait_file("started");
    let crashed = shim.invoke(&act("exit", &[("code", "2")]));
    assert!(crashed.text().contains("exit status 2"), "{}", crashed.text());
    wait_for("a new process", || (shim.invoke("1").text() == "1").then_some(()));
    shim.touch("go");
    assert_eq!(waiting.join().unwrap().status, 200);
}

/// The connection of a runtime that is gone does not wait for a caller who does not read.
#[test]
fn st_07_a_stream_that_nobody_reads_leaves_nothing_on_the_shared_port() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let setup = Setup::actor().env("INTERNAL_API_PORT", &port.to_string()).env("INVOKER_COUNT", "1");
    let shim = setup.env("TM_INVOKE_MODE", "RESPONSE_STREAM").env("FUNCTION_TTL", "5s").start();
    let event = r#"{"do":"stream","pieces":[{"size":100000000}]}"#;
    let mut caller = http::connect(shim.port());
    let head = http::head("POST", "/", &format!("Content-Length: {}\r\n", event.len()));
    caller.write_all((head + event).as_bytes()).unwrap();
    caller.read_exact(&mut [0; 12]).unwrap();
    shim.wait_log("REPORT", 1);
    assert_eq!(shim.invoke("1").text(), "1", "the next one has a new process");
    let mut left = Vec::new();
    wait_for("the new process's connection to be the only one", || {
        left = connections(port);
        (left.len() == 1).then_some(())
    });
    drop(caller);
}

/// The shim's open ends of connections to this port.
fn connections(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let open = table.lines().skip(1).filter(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        // Established, and those whose other end is closed.
        local.ends_with(&format!(":{port:04X}")) && ["01", "08"].contains(&state)
    });
    open.map(str::to_owned).collect()
}
