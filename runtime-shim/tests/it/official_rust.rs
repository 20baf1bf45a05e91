//! AWS's Rust client (`lambda_runtime` from crates.io), in `examples/echo.rs`, judges the shim.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use serde_json::json;

use crate::harness::{Setup, Shim};
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

const EXAMPLES: [&str; 3] = ["echo", "stream", "web"];

pub(crate) fn setup(name: &str) -> Setup {
    let setup = Setup::empty().env("AWS_LAMBDA_FUNCTION_NAME", "stork");
    std::os::unix::fs::symlink(function(name), setup.path().join("task/bootstrap")).unwrap();
    setup
}

fn start() -> Shim {
    setup("echo").start()
}

#[test]
fn streams_reach_http_callers_with_status_headers_and_cookies() {
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
fn streams_reach_sdks_with_the_prelude_in_them() {
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
fn events_results_and_context() {
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
