//! AWS's Rust clients (`lambda_runtime` and `lambda-extension` from crates.io), in `examples`, judge the shim.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use serde_json::json;

use crate::harness::{Setup, Shim, act, wait_for};
use crate::official_boto3::boto3;
use crate::tools;

/// Cargo builds examples beside the tests; not, though, when one test target is asked for by name.
fn function(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if EXAMPLES.iter().any(|name| !folder.join(name).exists()) {
            let args = ["build", "--quiet", "--package", "runtime-shim", "--examples"];
            tools::run(Command::new(env!("CARGO")).args(args));
        }
    });
    folder.join(name)
}

const EXAMPLES: [&str; 5] = ["concurrent", "echo", "extension", "stream", "web"];

pub(crate) fn setup(name: &str) -> Setup {
    let setup = Setup::empty().env("AWS_LAMBDA_FUNCTION_NAME", "stork");
    std::os::unix::fs::symlink(function(name), setup.path().join("task/bootstrap")).unwrap();
    setup
}

fn start() -> Shim {
    setup("echo").start()
}

#[test]
fn st_09_ht_27_ht_34_streams_reach_http_callers_with_status_headers_and_cookies() {
    let event = r#"{"pieces":["one ","two"]}"#;
    for mode in ["RESPONSE_STREAM", "BUFFERED"] {
        let shim = setup("stream").env("TM_INVOKE_MODE", mode).start();
        let answer = shim.invoke(event);
        assert_eq!(answer.status, 203, "{mode}: {}", answer.head);
        for line in ["x-zoo: emu", "x-zoo: hen", "set-cookie: a=1", "set-cookie: b=2; Secure"] {
            assert!(answer.head.contains(line), "{mode}: no {line} in {}", answer.head);
        }
        assert!(answer.text().contains("one ") && answer.text().contains("two"), "{mode}: {}", answer.text());
        assert_eq!((shim.invoke(r#"{"fail":true}"#).status, mode), (500, mode));
    }
}

#[test]
fn in_28_streams_reach_sdks_with_the_prelude_in_them() {
    let shim = setup("stream").start();
    let program = r#"
event = {"pieces": ["one ", "two"]}
show([streamed(Payload=json.dumps(event)), streamed(Payload=json.dumps({**event, "abort": True})),
      invoke(Payload=json.dumps(event))["Payload"]])
"#;
    let answers = boto3(&shim, program);
    let joined = |answer: &serde_json::Value| {
        answer["chunks"].as_array().unwrap().iter().map(|chunk| chunk.as_str().unwrap()).collect::<String>()
    };
    let whole = joined(&answers[0]);
    assert!(
        whole.starts_with("{\"statusCode\":203,") && whole.ends_with("\0\0\0\0\0\0\0\0one two"),
        "{whole:?}"
    );
    assert_eq!((&answers[0]["end"], &answers[0]["ends"]), (&json!({}), &json!(1)));
    assert_eq!(answers[2], whole, "a buffered caller gets the same bytes");
    // It reports a broken stream in its last bytes, not in trailers.
    assert!(joined(&answers[1]).contains("Lambda-Runtime-Function-Error-Type: "), "{}", answers[1]);
}

#[test]
fn en_04_events_results_and_context() {
    let shim = start();
    for event in ["{\"a\":[1,null]}", "7", "null", "\"x\"", "[]"] {
        assert_eq!(shim.invoke(event).text(), event);
    }
    let answer = shim.invoke(r#"{"do":"context"}"#);
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:stork";
    assert_eq!(answer.json(), json!({"id": answer.id(), "arn": arn, "name": "stork", "trace": null}));
}

#[test]
fn errors_and_panics() {
    let shim = start();
    for (event, message) in [(r#"{"do":"error"}"#, "no"), (r#"{"do":"panic"}"#, "asked to")] {
        let answer = shim.invoke(event);
        assert_eq!((answer.status, answer.blamed()), (500, true));
        let error = answer.json();
        assert!(error["errorMessage"].as_str().unwrap().contains(message), "{error}");
    }
    assert_eq!(shim.invoke("1").text(), "1");
}

/// A function beside an extension that writes down what it gets: events, and the records of one of the APIs.
fn beside_the_extension(api: &str) -> Shim {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let setup = Setup::actor().env("LISTEN_PORT", &port.to_string()).env("LISTEN_API", api);
    std::fs::create_dir(setup.path().join("extensions")).unwrap();
    std::os::unix::fs::symlink(function("extension"), setup.path().join("extensions/judge")).unwrap();
    setup.start()
}

/// Waits until the extension has noted so many records of a kind.
fn wait_noted(shim: &Shim, kind: &str, count: usize) -> String {
    wait_for(&format!("{count} of {kind}"), || {
        let text = std::fs::read_to_string(shim.work("telemetry")).unwrap_or_default();
        (text.lines().filter(|line| line.starts_with(kind)).count() >= count).then_some(text)
    })
}

#[test]
fn ex_13_ex_18_extensions_get_events_and_telemetry() {
    let mut shim = beside_the_extension("telemetry");
    let first = shim.invoke(&act("say", &[("text", "a line")])).id().to_owned();
    let failed = shim.invoke(&act("error", &[])).id().to_owned();
    let noted = wait_noted(&shim, "PlatformReport", 2);
    for kind in [
        "PlatformInitStart",
        "PlatformTelemetrySubscription",
        "PlatformInitRuntimeDone",
        "PlatformExtension { name: \"judge\", state: \"Ready\", events: [\"INVOKE\", \"SHUTDOWN\"] }",
        "PlatformInitReport",
        "PlatformStart",
        "Function(\"a line\\n\")",
        "PlatformRuntimeDone",
    ] {
        assert!(noted.lines().any(|line| line.starts_with(kind)), "no {kind} in {noted}");
    }
    assert!(noted.contains("runtimeOverhead") && noted.contains("extensionOverhead"), "{noted}");
    // A crash, and a start of everything anew: every record is one that the client knows.
    shim.invoke(&act("exit", &[("code", "1")]));
    shim.invoke("1");
    let noted = wait_noted(&shim, "PlatformReport", 4);
    assert!(noted.contains("status: Error, error_type: Some(\"Runtime.ExitError\")"), "{noted}");
    shim.stop();
    let events = std::fs::read_to_string(shim.work("events")).unwrap();
    let lines: Vec<&str> = events.lines().collect();
    assert_eq!(lines[..2], [format!("INVOKE {first}"), format!("INVOKE {failed}")]);
    assert_eq!((lines[3], lines.last()), ("SHUTDOWN failure", Some(&"SHUTDOWN spindown")));
    assert!(!shim.stdout().contains("Error parsing"), "{}", shim.stdout());
}

#[test]
fn ex_18_extensions_get_logs() {
    let mut shim = beside_the_extension("logs");
    shim.invoke(&act("say", &[("text", "a line")]));
    shim.invoke(&act("exit", &[("code", "1")]));
    shim.invoke("1");
    let noted = wait_noted(&shim, "PlatformReport", 3);
    for kind in [
        "PlatformLogsSubscription",
        "PlatformStart",
        "Function",
        "PlatformRuntimeDone",
        "PlatformEnd",
        "PlatformFault",
    ] {
        assert!(noted.lines().any(|line| line.starts_with(kind)), "no {kind} in {noted}");
    }
    shim.stop();
}
