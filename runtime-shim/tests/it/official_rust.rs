//! AWS's Rust client (`lambda_runtime` from crates.io), in `examples/echo.rs`, judges the shim.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use serde_json::json;

use crate::harness::{Setup, Shim};
use crate::tools;

/// Cargo builds examples beside the tests; not, though, when one test target is asked for by name.
fn function() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let function = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/echo");
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if !function.exists() {
            let args = ["build", "--quiet", "--package", "runtime-shim", "--example", "echo"];
            tools::run(Command::new(env!("CARGO")).args(args));
        }
    });
    function
}

fn start() -> Shim {
    let setup = Setup::empty().env("AWS_LAMBDA_FUNCTION_NAME", "crow");
    std::os::unix::fs::symlink(function(), setup.path().join("task/bootstrap")).unwrap();
    setup.start()
}

#[test]
fn events_results_and_context() {
    let shim = start();
    for event in ["{\"a\":[1,null]}", "7", "null", "\"x\"", "[]"] {
        assert_eq!(shim.invoke(event).text(), event);
    }
    let answer = shim.invoke(r#"{"do":"context"}"#);
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:crow";
    assert_eq!(answer.json(), json!({"id": answer.id(), "arn": arn, "name": "crow", "trace": null}));
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
