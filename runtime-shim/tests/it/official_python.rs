//! AWS's own Python client (`awslambdaric` from PyPI), started by our bootstrap, judges the shim.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::harness::{Setup, Shim, python};
use crate::tools;

/// As build-tasks puts it into images.
const CLIENT: [&str; 3] = ["awslambdaric==4.2.2", "simplejson==4.3.0", "snapshot-restore-py==1.0.0"];

/// `/var/runtime` of a Python image.
pub(crate) fn runtime() -> PathBuf {
    tools::cached("python-awslambdaric-4.2.2", |folder| {
        let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"];
        tools::run(Command::new(python()).args(pip).arg(folder).args(CLIENT));
        fs::copy(tools::repository("build-tasks/runtimes/python/bootstrap"), folder.join("bootstrap"))
            .unwrap();
    })
}

const APP: &str = r#"
import os, sys

def handler(event, context):
    what = event.get("do") if isinstance(event, dict) else None
    if what == "error":
        raise ValueError("no")
    if what == "exit":
        sys.exit(3)
    if what == "bytes":
        return "\u00e9 \u2603"
    if what == "context":
        return {
            "id": context.aws_request_id,
            "name": context.function_name,
            "arn": context.invoked_function_arn,
            "memory": context.memory_limit_in_mb,
            "stream": context.log_stream_name,
            "left": context.get_remaining_time_in_millis() > 1000,
            "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        }
    print("seen", type(event).__name__)
    return event
"#;

fn start(handler: &str, app: &str) -> Shim {
    Setup::empty()
        .file("task/app.py", app, 0o644)
        .env("LAMBDA_RUNTIME_DIR", runtime().to_str().unwrap())
        .env("_HANDLER", handler)
        .env("AWS_LAMBDA_FUNCTION_NAME", "crow")
        .start()
}

#[test]
fn rt_15_events_results_and_context() {
    let shim = start("app.handler", APP);
    for event in [r#"{"a": [1, null]}"#, "7", "null", "\"x\"", "[]"] {
        assert_eq!(shim.invoke(event).json(), serde_json::from_str::<serde_json::Value>(event).unwrap());
    }
    assert_eq!(shim.invoke(r#"{"do":"bytes"}"#).json(), json!("é ☃"));
    let answer = shim.invoke(r#"{"do":"context"}"#);
    let context = answer.json();
    assert_eq!(context["id"], answer.id());
    assert_eq!(context["name"], "crow");
    assert_eq!(context["arn"], "arn:aws:lambda:us-east-1:123456789012:function:crow");
    assert_eq!((&context["memory"], &context["left"]), (&json!("128"), &json!(true)));
    let log = shim.wait_log("REPORT", 7);
    assert!(log.contains("seen dict\nEND"), "{log}");
}

#[test]
fn rt_15_errors_and_exits() {
    let shim = start("app.handler", APP);
    let answer = shim.invoke(r#"{"do":"error"}"#);
    assert_eq!((answer.status, answer.blamed()), (500, true));
    let error = answer.json();
    assert_eq!((&error["errorType"], &error["errorMessage"]), (&json!("ValueError"), &json!("no")));
    assert_eq!(error["requestId"], answer.id());
    let exit = shim.invoke(r#"{"do":"exit"}"#);
    assert!(exit.text().contains("exit"), "{}", exit.text());
    assert_eq!(shim.invoke("1").text(), "1");
}

#[test]
fn init_errors() {
    for (handler, app, error_type) in [
        ("app.handler", "import nothing_of_that_name", "Runtime.ImportModuleError"),
        ("app.missing", APP, "Runtime.HandlerNotFound"),
        ("app.handler", "def handler(:", "Runtime.UserCodeSyntaxError"),
        ("app.handler", "raise Exception('at import')", "Exception"),
    ] {
        let shim = start(handler, app);
        let answer = shim.invoke("1");
        assert_eq!((answer.status, answer.blamed()), (500, true));
        assert_eq!(answer.json()["errorType"], error_type);
    }
}

#[test]
fn results_that_are_too_large() {
    let app = "def handler(event, context): return 'x' * event";
    let shim = start("app.handler", app);
    assert_eq!(shim.invoke("6291554").body.len(), 6_291_556, "with its two quotes it just fits");
    let answer = shim.invoke("6291555");
    assert_eq!(answer.json()["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(shim.invoke("1").text(), "\"x\"");
}

#[test]
fn what_is_not_json_arrives_as_bytes() {
    let app = "def handler(event, context): return [type(event).__name__, len(event)]";
    let shim = start("app.handler", app);
    assert_eq!(shim.invoke("plain words").json(), json!(["bytes", 11]));
}

/// EN-12: the packages of layers, and of the client, behind the function's own.
#[test]
fn en_12_packages_are_where_managed_images_have_them() {
    let app = "import os, sys\n\ndef handler(event, context):\n    return [os.environ['PYTHONPATH'], sys.path.index('/opt/python')]\n";
    let shim = start("app.handler", app);
    let answer = shim.invoke("1").json();
    assert_eq!(answer[0], format!("/opt/python:{}", runtime().display()));
}
