//! `GET /metrics`, and traces of the W3C.

use std::net::TcpListener;

use crate::harness::{Setup, act, wait_for};
use crate::http;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn ce_29_what_is_counted() {
    let port = free_port();
    let shim = Setup::actor()
        .env("METRICS_PROMETHEUS_PORT", &port.to_string())
        .env("INVOKER_COUNT", "1")
        .env("TM_QUEUE_LENGTH", "1")
        .start();
    shim.invoke("1");
    shim.invoke("2");
    shim.invoke(&act("error", &[]));
    shim.invoke(&act("exit", &[("code", "1")]));
    let event = |event: &str| {
        let path = "/2015-03-31/functions/function/invocations";
        http::send(shim.port(), path, "X-Amz-Invocation-Type: Event\r\n", event.as_bytes()).status
    };
    assert_eq!(event(&act("wait", &[("started", "started"), ("until", "go")])), 202);
    shim.wait_file("started");
    assert_eq!((event("1"), event("1")), (202, 429));
    let scrape = || http::request(port, "GET", "/metrics", "").text().to_owned();
    let text = scrape();
    for line in [
        "tm_function_invocations_total{outcome=\"success\"} 2",
        "tm_function_invocations_total{outcome=\"function_error\"} 1",
        "tm_function_invocations_total{outcome=\"runtime_error\"} 1",
        "tm_function_duration_seconds_count 4",
        "tm_function_init_duration_seconds_count 2",
        "tm_function_throttled_total 1",
        "tm_function_running 1",
        "tm_function_waiting 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in {text}");
    }
    shim.touch("go");
    wait_for("an idle function", || scrape().contains("tm_function_running 0\n").then_some(()));
    assert_eq!(http::request(port, "GET", "/", "").status, 404);
}

#[test]
fn a_port_that_is_taken_costs_the_metrics_only() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let shim = Setup::actor().env("METRICS_PROMETHEUS_PORT", &port).start();
    assert_eq!(shim.invoke("1").text(), "1");
    assert!(shim.stderr().contains("no metrics"), "{}", shim.stderr());
}

#[test]
fn rt_19_traces_of_the_w3c_reach_the_function() {
    let shim = Setup::actor().start();
    let header = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    for path in ["/", "/2015-03-31/functions/function/invocations"] {
        let answer = http::send(shim.port(), path, header, act("headers", &[]).as_bytes());
        assert_eq!(
            answer.json()["Lambda-Runtime-Trace-Id"],
            "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1",
            "{path}"
        );
    }
}
