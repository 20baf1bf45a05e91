//! What no proper client sends, on the front: the one who sends it gets an error, everybody else an answer.

use std::io::{Read as _, Write as _};

use serde_json::json;

use crate::harness::{Setup, Shim};
use crate::http;

const INVOKE: &str = "/2015-03-31/functions/function/invocations";

/// Sends bytes as they are, says that no more will come, and reads until the end of the connection.
fn raw(shim: &Shim, bytes: &[u8]) -> String {
    exchange(shim, bytes, true)
}

/// Sends bytes as they are and reads until the shim ends the connection.
fn exchange(shim: &Shim, bytes: &[u8], half_close: bool) -> String {
    let mut stream = http::connect(shim.port());
    // It may be closed before all is sent.
    let _ = stream.write_all(bytes);
    if half_close {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The shim is as well as before.
fn assert_well(shim: &Shim) {
    assert_eq!(shim.invoke("1").text(), "1");
    assert_eq!(http::send(shim.port(), INVOKE, "", b"2").text(), "2");
}

#[test]
fn requests_that_are_none() {
    let shim = Setup::actor().start();
    for bytes in [
        &b"\0\0\0\0"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"POST / HTTP/1.1\r\nBad Name: x\r\n\r\n",
    ] {
        let answer = raw(&shim, bytes);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{:?}: {answer}", String::from_utf8_lossy(bytes));
        assert_well(&shim);
    }
    let many = format!("POST / HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(500));
    assert!(raw(&shim, many.as_bytes()).starts_with("HTTP/1.1 431"), "too many headers");
    let long = format!("POST / HTTP/1.1\r\nX-A: {}\r\n\r\n", "b".repeat(200_000));
    assert!(raw(&shim, long.as_bytes()).starts_with("HTTP/1.1 431"), "too long a header");
    assert_well(&shim);
}

/// Two lengths are how requests are smuggled past a proxy: what is behind must not be taken for a request.
#[test]
fn lengths_that_differ_smuggle_nothing() {
    let shim = Setup::actor().start();
    let inner = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n\"smuggle\"";
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        inner.len() + 5
    );
    let answer = raw(&shim, format!("{head}0\r\n\r\n{inner}").as_bytes());
    assert!(answer.matches("HTTP/1.1 ").count() <= 1 || !answer.contains("smuggle"), "{answer}");
    assert_well(&shim);
}

/// A length or a coding that a proxy might read in another way than we do: refused, or one request and nothing behind it.
#[test]
fn odd_framing_smuggles_nothing() {
    let shim = Setup::actor().env("INVOKER_COUNT", "1").start();
    let inner = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n\"smuggle\"";
    for framing in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked, x",
        "X: y\r\n Transfer-Encoding: chunked",
        "Content-Length: +5",
        "Content-Length: 5, 6",
        "Content-Length: 0x5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 99999999999999999999",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n0\r\n\r\n{inner}");
        let answer = raw(&shim, request.as_bytes());
        assert!(!answer.contains("smuggle"), "{framing}: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{framing}: {answer}");
        assert_well(&shim);
    }
    shim.wait_log("REPORT", 20);
    assert_eq!(shim.stdout().matches("\nSTART").count(), 20, "only the two calls behind each ran");
}

/// Who closes its sending side behind a request has not left: it gets the answer, as from Go's servers and AWS's emulator.
#[test]
fn half_closed_callers_are_answered() {
    let shim = Setup::actor().env("INVOKER_COUNT", "1").start();
    let request = http::head("POST", "/", "Content-Length: 1\r\n") + "7";
    // The end comes with the request or behind it, as it happens.
    for _ in 0..20 {
        let answer = raw(&shim, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n7"), "{answer}");
    }
    assert!(!shim.wait_log("REPORT", 20).contains("Status:"), "{}", shim.stdout());
    assert_well(&shim);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let shim = Setup::actor().start();
    let one = |body: &str, more: &str| {
        format!("POST {INVOKE} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let requests = one("11", "") + &one("22", "") + &one("33", "Connection: close\r\n");
    let answer = exchange(&shim, requests.as_bytes(), false);
    let at = |text: &str| {
        answer.find(&format!("\r\n\r\n{text}")).unwrap_or_else(|| panic!("no {text} in {answer}"))
    };
    assert!(at("11") < at("22") && at("22") < at("33"), "{answer}");
}

#[test]
fn callers_of_http_1_0_get_streams_that_end_with_the_connection() {
    let shim = Setup::actor().env("TM_INVOKE_MODE", "RESPONSE_STREAM").start();
    let event = json!({"do": "stream", "type": "text/css", "pieces": ["one ", "two"]}).to_string();
    let request = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n{event}", event.len());
    let answer = exchange(&shim, request.as_bytes(), false);
    assert!(answer.ends_with("\r\n\r\none two"), "{answer}");
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
}

#[test]
fn preludes_without_end_are_failures_of_the_function() {
    let shim = Setup::actor().env("TM_INVOKE_MODE", "RESPONSE_STREAM").start();
    let kind = "application/vnd.awslambda.http-integration-response";
    let event = json!({"do": "stream", "type": kind, "pieces": [{"size": 20_000_000}]}).to_string();
    let answer = shim.invoke(&event);
    assert_eq!((answer.status, answer.blamed()), (500, true));
    assert_eq!(answer.json()["errorType"], "Runtime.InvalidStreamPrelude");
    assert!(shim.wait_file("answered").starts_with("[202, "), "the runtime was read to its end");
    assert_eq!(shim.invoke("1").text(), "1");
}

#[test]
fn bodies_that_stop_arriving_cost_their_own_caller_only() {
    let shim = Setup::actor().env("FUNCTION_TTL", "2s").start();
    let mut slow = http::connect(shim.port());
    slow.write_all((http::head("POST", INVOKE, "Content-Length: 10\r\n") + "123").as_bytes()).unwrap();
    assert_well(&shim);
    let answer = http::finish(slow);
    assert_eq!(
        (answer.status, answer.header("x-amzn-errortype")),
        (400, Some("InvalidRequestContentException"))
    );
    assert_eq!(shim.wait_log("REPORT", 2).matches("\nSTART").count(), 2, "it never ran");
}

#[test]
fn who_asks_before_sending_too_much_is_told_at_once() {
    let shim = Setup::actor().start();
    let headers = "Content-Length: 99999999\r\nExpect: 100-continue\r\n";
    let answer = http::request(shim.port(), "POST", INVOKE, headers);
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (413, Some("RequestTooLargeException")));
}
