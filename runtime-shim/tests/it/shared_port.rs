//! One Runtime API port for all workers (`INTERNAL_API_PORT`, RT-43).

use crate::harness::{Setup, Shim, act, wait_for};

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
