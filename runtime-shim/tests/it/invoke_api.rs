//! The Lambda Invoke API from raw sockets: headers, shapes and edges to the byte (section 7).

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{Setup, Shim, act};
use crate::http::{self, Response};

const INVOKE: &str = "/2015-03-31/functions/stork/invocations";

fn setup() -> Setup {
    Setup::actor().env("AWS_LAMBDA_FUNCTION_NAME", "stork").env("AWS_REGION", "eu-west-1")
}

fn call(shim: &Shim, headers: &str, event: &str) -> Response {
    http::send(shim.port(), INVOKE, headers, event.as_bytes())
}

fn log_of(answer: &Response) -> String {
    let log = answer.header("x-amz-log-result").unwrap_or_else(|| panic!("no log in {}", answer.head));
    String::from_utf8(STANDARD.decode(log).unwrap()).unwrap()
}

#[test]
fn in_11_a_result_and_its_headers() {
    let shim = setup().env("AWS_LAMBDA_FUNCTION_VERSION", "7").start();
    let answer = call(&shim, "Content-Type: application/x-www-form-urlencoded\r\n", r#"{"a": 1}"#);
    assert_eq!((answer.status, answer.text()), (200, r#"{"a": 1}"#));
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "8"),
        ("x-amz-executed-version", "7"),
        ("x-amzn-remapped-content-length", "0"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let trace = answer.header("x-amzn-trace-id").unwrap();
    assert!(trace.starts_with("Root=1-") && trace.ends_with(";Sampled=0"), "{trace}");
    assert_eq!(answer.header("x-amz-function-error"), None);
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains(&format!("START RequestId: {} Version: 7", answer.id())), "{log}");
}

#[test]
fn in_08_ht_57_no_body_is_an_empty_object_and_any_json_is_an_event() {
    let shim = setup().start();
    assert_eq!(http::request(shim.port(), "POST", INVOKE, "").text(), "{}");
    for event in ["null", "true", "7", "\"x\"", "[]", "[1, {\"a\": null}]"] {
        assert_eq!(call(&shim, "", event).text(), event);
    }
    let refused = call(&shim, "", "{");
    assert_eq!(
        (refused.status, refused.header("x-amzn-errortype")),
        (400, Some("InvalidRequestContentException"))
    );
    let prefix = "Could not parse request body into json: Could not parse payload into json: ";
    assert!(refused.json()["message"].as_str().unwrap().starts_with(prefix), "{}", refused.text());
    let wrong = http::send(shim.port(), INVOKE, "", b"\"\xff\"");
    assert_eq!((wrong.status, wrong.json()["Type"].as_str()), (400, Some("User")));
}

#[test]
fn rt_33_in_12_errors_of_the_function_are_200_and_unhandled() {
    let shim = setup().env("INVOKER_COUNT", "1").env("FUNCTION_TTL", "2s").start();
    let error = call(&shim, "", &act("error", &[]));
    assert_eq!((error.status, error.blamed()), (200, true));
    assert_eq!(error.text(), r#"{"errorMessage":"no","errorType":"Oops","stackTrace":[]}"#);
    assert_eq!(error.header("x-amz-executed-version"), Some("$LATEST"));
    let exit = call(&shim, "", &act("exit", &[("code", "1")]));
    assert_eq!((exit.status, exit.blamed()), (200, true));
    assert_eq!(
        exit.text(),
        format!(
            r#"{{"errorType":"Runtime.ExitError","errorMessage":"RequestId: {} Error: Runtime exited with error: exit status 1"}}"#,
            exit.id()
        )
    );
    let timeout = call(&shim, "", &act("hang", &[]));
    assert_eq!((timeout.status, timeout.blamed()), (200, true));
    assert_eq!(timeout.json()["errorType"], "Sandbox.Timedout");
    let large = call(&shim, "", &act("size", &[("bytes", "6291557")]));
    assert_eq!(
        (large.status, large.json()["errorType"].as_str()),
        (200, Some("Function.ResponseSizeTooLarge"))
    );
    assert_eq!(call(&shim, "", &act("size", &[("bytes", "6291556")])).body.len(), 6_291_556);
}

#[test]
fn rt_18_in_01_in_02_in_10_in_20_names_and_qualifiers() {
    let shim = setup().start();
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:stork";
    for (name, seen) in [
        ("stork", arn.to_owned()),
        ("function", arn.to_owned()),
        ("stork%3Ablue", format!("{arn}:blue")),
        ("stork:blue", format!("{arn}:blue")),
        ("stork?Qualifier=%24LATEST", format!("{arn}:$LATEST")),
        ("123456789012%3Afunction%3Astork", arn.to_owned()),
        ("arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Astork%3A7", format!("{arn}:7")),
    ] {
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        let path = format!("/2015-03-31/functions/{name}/invocations?{query}");
        let answer = http::send(shim.port(), &path, "", act("headers", &[]).as_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.json()["Lambda-Runtime-Invoked-Function-Arn"], seen, "{path}");
    }
    for (name, status, error) in [
        ("crow", 404, "ResourceNotFoundException"),
        ("stork:$latest", 404, "ResourceNotFoundException"),
        ("x%20y", 400, "ValidationException"),
        ("stork:blue?Qualifier=green", 400, "InvalidParameterValueException"),
    ] {
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        let path = format!("/2015-03-31/functions/{name}/invocations?{query}");
        let answer = http::send(shim.port(), &path, "", b"{}");
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, Some(error)), "{path}");
    }
    assert!(!shim.stdout().contains("stork:blue?Qualifier=green"));
}

#[test]
fn in_20_ht_58_any_name_and_off() {
    let any = setup().env("TM_INVOKE_API", "any-name").start();
    let path = "/2015-03-31/functions/crow/invocations";
    assert_eq!(http::send(any.port(), path, "", b"1").text(), "1");
    let off = setup().env("TM_INVOKE_API", "off").start();
    assert_eq!(http::send(off.port(), path, "", b"{").text(), "{", "the function has all paths");
}

#[test]
fn in_21_other_paths_methods_and_words() {
    let shim = setup().start();
    for (method, path, status) in [
        ("GET", INVOKE, 405),
        ("POST", "/2015-03-31/functions/stork", 404),
        ("POST", "/2021-11-15/functions/stork/invocations", 404),
        ("GET", "/2014-11-13/", 404),
    ] {
        let answer = http::request(shim.port(), method, path, "Content-Length: 0\r\n");
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["message"].is_string(), "{}", answer.text());
    }
    for header in ["X-Amz-Invocation-Type: event\r\n", "X-Amz-Log-Type: All\r\n", "X-Amz-Tenant-Id: a;b\r\n"]
    {
        let answer = call(&shim, header, "1");
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some("ValidationException")));
    }
    assert!(!shim.stdout().contains("\nSTART"), "nothing of this has run");
}

#[test]
fn rt_20_rt_22_in_05_client_context_and_tenant() {
    let shim = setup().start();
    let context = |json: &str| format!("X-Amz-Client-Context: {}\r\n", STANDARD.encode(json));
    let told = |headers: &str| call(&shim, headers, &act("headers", &[])).json();
    let plain = r#"{"custom":{"egg":1},"client":{ }}"#;
    assert_eq!(told(&context(plain))["Lambda-Runtime-Client-Context"], plain);
    let escaped = told(&context("{\"custom\":{\"é\":\"☃\"}}"));
    assert_eq!(escaped["Lambda-Runtime-Client-Context"], r#"{"custom":{"\u00e9":"\u2603"}}"#);
    let without = told("");
    assert!(without.get("Lambda-Runtime-Client-Context").is_none(), "{without}");
    assert!(without.get("Lambda-Runtime-Cognito-Identity").is_none(), "{without}");
    assert!(without.get("Lambda-Runtime-Aws-Tenant-Id").is_none(), "{without}");
    assert_eq!(told("X-Amz-Tenant-Id: blue/7\r\n")["Lambda-Runtime-Aws-Tenant-Id"], "blue/7");
    for bad in [
        "X-Amz-Client-Context: !!!\r\n".to_owned(),
        context("[1]"),
        context(&format!("\"{}\"", "x".repeat(2700))),
    ] {
        let answer = call(&shim, &bad, "1");
        assert_eq!(
            (answer.status, answer.header("x-amzn-errortype")),
            (400, Some("InvalidRequestContentException"))
        );
    }
}

#[test]
fn in_07_the_trace_of_the_caller_is_adopted() {
    let shim = setup().start();
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let answer = call(&shim, &format!("X-Amzn-Trace-Id: {root};Sampled=1\r\n"), &act("headers", &[]));
    let told = answer.json()["Lambda-Runtime-Trace-Id"].as_str().unwrap().to_owned();
    assert!(told.starts_with(&format!("{root};Parent=")) && told.ends_with(";Sampled=1"), "{told}");
    assert_eq!(answer.header("x-amzn-trace-id"), Some(told.as_str()));
}

#[test]
fn in_04_the_tail_is_the_log_from_start_to_report() {
    let shim = setup().env("INVOKER_COUNT", "1").start();
    let tail = "X-Amz-Log-Type: Tail\r\n";
    let cold = call(&shim, tail, &act("say", &[("text", "one")]));
    let (log, id) = (log_of(&cold), cold.id());
    assert!(log.starts_with("INIT_START "), "cold init lines are part of it: {log}");
    assert!(
        log.contains(&format!(
            "START RequestId: {id} Version: $LATEST\none\nEND RequestId: {id}\nREPORT RequestId: {id}\t"
        )),
        "{log}"
    );
    assert!(log.ends_with(" ms\t\n"), "{log}");
    let warm = call(&shim, tail, &act("say", &[("text", "two")]));
    let log = log_of(&warm);
    assert!(log.starts_with(&format!("START RequestId: {}", warm.id())), "{log}");
    assert!(log.contains("\ntwo\n") && !log.contains("one"), "{log}");
    assert_eq!(call(&shim, "X-Amz-Log-Type: None\r\n", "1").header("x-amz-log-result"), None);
}

/// What is said behind END is in the tail of the next invoke, as in its stretch of the log.
#[test]
fn lg_05_late_output_is_in_the_next_tail() {
    let program = "
import threading
def later():
    wait('go')
    say('late')
    touch('said')
threading.Thread(target=later, daemon=True).start()
while True:
    id, body, headers = next_event()
    if body == b'2': wait('said')
    respond(id, body)
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    let tail = |event: &str| {
        let path = "/2015-03-31/functions/function/invocations";
        log_of(&http::send(shim.port(), path, "X-Amz-Log-Type: Tail\r\n", event.as_bytes()))
    };
    assert!(!tail("1").contains("late"));
    shim.touch("go");
    shim.wait_file("said");
    let next = tail("2");
    assert!(next.contains("late\n") && !next.contains("INIT_START"), "{next}");
}

#[test]
fn lg_11_the_tail_in_json_has_records_of_all_levels() {
    let shim = setup().env("AWS_LAMBDA_LOG_FORMAT", "JSON").env("TM_SYSTEM_LOG_LEVEL", "WARN").start();
    let log = log_of(&call(&shim, "X-Amz-Log-Type: Tail\r\n", "1"));
    let kinds: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].take())
        .collect();
    let expected = ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"];
    assert_eq!(kinds, expected.map(|kind| format!("platform.{kind}")));
    assert_eq!(shim.stdout(), "", "the log itself has failures only");
}

#[test]
fn lg_09_lg_11_lines_below_the_level_are_in_the_tail_alone() {
    let setup = setup().env("AWS_LAMBDA_LOG_FORMAT", "JSON").env("TM_SYSTEM_LOG_LEVEL", "WARN");
    let shim = setup.env("AWS_LAMBDA_LOG_LEVEL", "ERROR").start();
    let say = |level: &str| format!(r#"{{"do":"say","text":"{{\"level\":\"{level}\"}}"}}"#);
    for level in ["WARN", "ERROR"] {
        let log = log_of(&call(&shim, "X-Amz-Log-Type: Tail\r\n", &say(level)));
        assert!(log.contains(&format!("{{\"level\":\"{level}\"}}\n")), "{log}");
    }
    assert_eq!(shim.wait_log("{", 1), "{\"level\":\"ERROR\"}\n");
}

#[test]
fn in_13_the_tail_of_failures() {
    let shim = setup().env("INVOKER_COUNT", "1").env("FUNCTION_TTL", "2s").start();
    let tail = "X-Amz-Log-Type: Tail\r\n";
    let error = call(&shim, tail, &act("error", &[]));
    assert!(error.blamed() && log_of(&error).contains("REPORT "), "{}", error.head);
    let exit = call(&shim, tail, &act("exit", &[("code", "3")]));
    let log = log_of(&exit);
    assert!(log.contains("exit status 3\nRuntime.ExitError\nEND"), "{log}");
    assert!(log.ends_with("Status: error\tError Type: Runtime.ExitError\n"), "{log}");
    let timeout = call(&shim, tail, &act("hang", &[]));
    assert_eq!(timeout.json()["errorType"], "Sandbox.Timedout");
    assert!(log_of(&timeout).ends_with("Status: timeout\n"), "{}", log_of(&timeout));
}

#[test]
fn lg_10_the_tail_has_4096_bytes_and_is_repaired() {
    let program = "
while True:
    id, body, headers = next_event()
    os.write(1, ('☃' * 3000 + '\\n').encode())
    respond(id, body)
";
    let shim = Setup::python(program).env("AWS_LAMBDA_FUNCTION_NAME", "stork").start();
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let log = log_of(&call(&shim, "X-Amz-Log-Type: Tail\r\n", "1"));
        let cut = log.chars().take_while(|letter| *letter == '\u{fffd}').count();
        assert_eq!(log.len(), 4096 + 2 * cut, "{log}");
        lengths.insert(log.len());
    }
    assert!(lengths.iter().all(|length| (4096..=4100).contains(length)), "{lengths:?}");
}

#[test]
fn lg_11_in_18_the_tail_waits_for_the_end_of_the_phase() {
    let program = "
while True:
    id, body, headers = next_event()
    respond(id, body)
    touch('answered')
    wait('go')
    say('late words')
";
    let shim = Setup::python(program).env("AWS_LAMBDA_FUNCTION_NAME", "stork").start();
    let port = shim.port();
    let waiting = std::thread::spawn(move || http::send(port, INVOKE, "X-Amz-Log-Type: Tail\r\n", b"1"));
    shim.wait_file("answered");
    assert!(!waiting.is_finished(), "the log is not complete yet");
    shim.touch("go");
    let answer = waiting.join().unwrap();
    assert!(log_of(&answer).contains("late words\nEND"), "{}", log_of(&answer));
    assert_eq!(answer.text(), "1");
}

#[test]
fn in_03_in_10_in_14_in_15_in_23_as_01_as_07_events_run_later_and_a_dry_run_never() {
    let shim = setup().env("INVOKER_COUNT", "1").start();
    let context = format!("X-Amz-Client-Context: {}\r\n", STANDARD.encode("{}"));
    let event = "X-Amz-Invocation-Type: Event\r\nX-Amz-Log-Type: Tail\r\n".to_owned() + &context;
    let answer = call(&shim, &event, &act("wait", &[("started", "started"), ("until", "go")]));
    assert_eq!((answer.status, answer.text(), answer.header("content-length")), (202, "", Some("0")));
    for name in ["x-amz-executed-version", "x-amz-log-result", "x-amz-function-error"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    shim.wait_file("started");
    shim.touch("go");
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains(&format!("END RequestId: {}", answer.id())), "the same id: {log}");

    let dry = call(&shim, "X-Amz-Invocation-Type: DryRun\r\n", "{}");
    assert_eq!((dry.status, dry.text()), (204, ""));
    assert_eq!(call(&shim, "X-Amz-Invocation-Type: DryRun\r\n", &"x".repeat(6_291_457)).status, 413);
    let old = http::send(shim.port(), "/2014-11-13/functions/stork/invoke-async/", "", b"{}");
    assert_eq!((old.status, old.json()), (202, json!({"Status": 202})));
    let log = shim.wait_log("REPORT", 2);
    assert!(!log.contains(dry.id()) && log.contains(old.id()), "{log}");
}

#[test]
fn as_09_events_that_wait_finish_before_a_stop() {
    let mut shim = setup().env("INVOKER_COUNT", "1").start();
    let event = "X-Amz-Invocation-Type: Event\r\n";
    call(&shim, event, &act("wait", &[("started", "started"), ("until", "go")]));
    shim.wait_file("started");
    for _ in 0..3 {
        assert_eq!(call(&shim, event, "1").status, 202);
    }
    shim.signal(nix::sys::signal::Signal::SIGTERM);
    shim.touch("go");
    assert_eq!(shim.wait().code(), Some(0));
    assert_eq!(shim.stdout().matches("\nREPORT").count(), 4, "{}", shim.stdout());
}

#[test]
fn in_16_a_full_queue_is_429_and_says_when_to_come_back() {
    let shim = setup().env("INVOKER_COUNT", "1").env("TM_QUEUE_LENGTH", "1").start();
    let event = "X-Amz-Invocation-Type: Event\r\n";
    call(&shim, event, &act("wait", &[("started", "started"), ("until", "go")]));
    shim.wait_file("started");
    assert_eq!(call(&shim, event, "1").status, 202);
    for kind in [event, ""] {
        let refused = call(&shim, kind, "1");
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
        assert_eq!(refused.header("x-amzn-errortype"), Some("TooManyRequestsException"));
        assert_eq!(refused.json()["Reason"], "ConcurrentInvocationLimitExceeded");
    }
    shim.touch("go");
}

#[test]
fn in_22_lm_01_lm_03_payloads_at_the_edge() {
    let shim = setup().start();
    let string = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert_eq!(call(&shim, "", &string(6_291_456)).body.len(), 6_291_456);
    let refused = call(&shim, "", &string(6_291_457));
    assert_eq!((refused.status, refused.header("x-amzn-errortype")), (413, Some("RequestTooLargeException")));
    assert_eq!(
        refused.text(),
        r#"{"Type":"User","message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}"#
    );
    let event = "X-Amz-Invocation-Type: Event\r\n";
    assert_eq!(call(&shim, event, &string(1_048_576)).status, 202);
    assert_eq!(call(&shim, event, &string(1_048_577)).status, 413);
    // In chunks nobody knows the size ahead.
    let mut stream = http::connect(shim.port());
    stream.write_all(http::head("POST", INVOKE, "Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    let body = string(6_291_457);
    let _ = stream.write_all(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    assert_eq!(http::finish(stream).status, 413);
}

#[test]
fn in_17_a_caller_that_leaves_cancels_nothing() {
    let shim = setup().start();
    let event = act("wait", &[("started", "started"), ("until", "go")]);
    let mut stream = http::connect(shim.port());
    let headers = format!("Content-Length: {}\r\n", event.len());
    stream.write_all((http::head("POST", INVOKE, &headers) + &event).as_bytes()).unwrap();
    shim.wait_file("started");
    drop(stream);
    shim.touch("go");
    let log = shim.wait_log("REPORT", 1);
    assert!(!log.contains("Status:"), "{log}");
}

#[test]
fn init_errors_are_the_result() {
    let program = "call('POST', 'runtime/init/error', b'{\"errorMessage\":\"broken\",\"errorType\":\"Init\"}')\nsys.exit(1)";
    let shim = Setup::python(program).env("AWS_LAMBDA_FUNCTION_NAME", "stork").start();
    let answer = call(&shim, "X-Amz-Log-Type: Tail\r\n", "1");
    assert_eq!((answer.status, answer.blamed()), (200, true));
    assert_eq!(answer.text(), r#"{"errorMessage":"broken","errorType":"Init"}"#);
    let log = log_of(&answer);
    assert!(
        log.contains("Phase: init\t") && log.contains("Phase: invoke\t") && log.contains("REPORT "),
        "{log}"
    );
}
