//! Sizes at their edges (LM-01, LM-02, CE-18), and output without end.

use std::io::Write as _;

use crate::harness::{Setup, act};
use crate::http;

#[test]
fn ce_18_lm_01_events_at_the_edge_of_six_mebibytes() {
    let program = "
while True:
    id, body, headers = next_event()
    respond(id, str(len(body)))
";
    let shim = Setup::python(program).start();
    for size in [6_291_455, 6_291_456] {
        let answer = http::post(shim.port(), &vec![b'1'; size]);
        assert_eq!((answer.status, answer.text()), (200, size.to_string().as_str()));
    }
    let answer = http::post(shim.port(), &vec![b'1'; 6_291_457]);
    assert_eq!((answer.status, answer.text()), (413, "http: request body too large\n"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(!answer.blamed());
}

#[test]
fn ce_18_the_request_limit_counts_while_it_reads() {
    let shim = Setup::actor().env("REQUEST_SIZE_LIMIT", "1").start();
    for (size, status) in [(1_000_000, 200), (1_000_001, 413)] {
        let mut stream = http::connect(shim.port());
        stream.write_all(http::head("POST", "/", "Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
        let _ = stream.write_all(format!("{size:x}\r\n{}\r\n0\r\n\r\n", "1".repeat(size)).as_bytes());
        assert_eq!(http::finish(stream).status, status, "{size}");
    }
}

#[test]
fn a_sender_that_asks_first_is_refused_before_it_sends() {
    let shim = Setup::actor().start();
    let headers = "Content-Length: 99999999\r\nExpect: 100-continue\r\n";
    let answer = http::request(shim.port(), "POST", "/", headers);
    assert_eq!(answer.status, 413, "{}", answer.head);
}

#[test]
fn rt_28_lc_13_lm_02_results_at_the_edge_and_the_runtime_survives() {
    let program = "
notes = []
while True:
    id, body, headers = next_event()
    if body == b'notes':
        respond(id, json.dumps(notes))
        continue
    status, headers, body = respond(id, b'x' * int(body))
    if status != 202:
        notes.append([status, body.decode()])
        status, headers, body = fail(id, b'{}')
        notes.append([status, json.loads(body)['errorType']])
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    assert_eq!(shim.invoke("6291556").body.len(), 6_291_556);
    let answer = shim.invoke("6291557");
    assert_eq!((answer.status, answer.blamed()), (500, true));
    assert_eq!(
        answer.text(),
        r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}"#
    );
    // The same process, which was told 413 and may not answer again.
    let text = "{\"errorMessage\":\"Exceeded maximum allowed payload size (6291556 bytes).\",\"errorType\":\"RequestEntityTooLarge\"}\n";
    let expected = serde_json::json!([[413, text], [403, "InvalidStateTransition"]]);
    assert_eq!(shim.invoke("notes").json(), expected);
}

#[test]
fn a_gigabyte_of_output_neither_blocks_nor_grows() {
    let program = "
while True:
    id, body, headers = next_event()
    line, count = json.loads(body)
    chunk = (b'x' * line + b'\\n') * (65536 // line) if line else b'x' * 65536
    for _ in range(count):
        os.write(1, chunk)
    respond(id, b'1')
";
    let shim = Setup::python(program).env("FUNCTION_TTL", "300s").quiet().start();
    // 1 GB in lines, and a quarter of that without any newline.
    assert_eq!(shim.invoke("[100, 16000]").status, 200);
    assert_eq!(shim.invoke("[0, 4000]").status, 200);
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let kib: u64 = peak.trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kib < 64 * 1024, "the shim grew to {kib} KiB");
}

#[test]
fn a_body_that_breaks_off_is_no_event() {
    let shim = Setup::actor().start();
    let mut stream = http::connect(shim.port());
    stream.write_all((http::head("POST", "/", "Content-Length: 10\r\n") + "123").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    drop(stream);
    assert_eq!(shim.invoke(&act("echo", &[])).status, 200);
    assert_eq!(shim.wait_log("REPORT", 1).matches("\nSTART").count(), 1, "only the whole one ran");
}
