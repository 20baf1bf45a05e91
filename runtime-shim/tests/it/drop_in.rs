//! Images of others: the shim lies where their program did, under its name, and is started with its command line.

use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};
use tm_testkit::tools::skip;

use crate::harness::{Setup, act};
use crate::http;
use crate::official_python;

const INVOKE: &str = "/2015-03-31/functions/function/invocations";

/// What the emulator's own acceptance tests ask of a function.
const APP: &str = r#"
import os, time

def handler(event, context):
    what = event.get("do")
    if what == "sleep":
        time.sleep(60)
    if what == "raise":
        raise Exception("raised")
    return {
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "left": context.get_remaining_time_in_millis(),
        "env": {name: os.environ.get(name) for name in ("EQUAL", "_PRIVATE", "_HANDLER", "AWS_LAMBDA_FUNCTION_NAME")},
    }
"#;

/// The entry point of AWS's images: starts the emulator unless it was started by one, then the runtime.
const ENTRY: &str = r#"#!/bin/sh
if [ $# -ne 1 ]; then
  echo "the handler is missing" >&2
  exit 142
fi
export _HANDLER="$1"
if [ -z "$AWS_LAMBDA_RUNTIME_API" ]; then
  exec "$EMULATOR" "$BOOTSTRAP"
fi
exec "$BOOTSTRAP"
"#;

/// An image of AWS's: entry point, runtime client, function. `program` is the emulator's file name in it.
fn image(program: &str) -> Setup {
    let runtime = official_python::runtime();
    let setup = Setup::named(program).file("entry.sh", ENTRY, 0o755).file("task/app.py", APP, 0o644);
    let emulator = setup.path().join(program).to_str().unwrap().to_owned();
    setup
        .env("LAMBDA_RUNTIME_DIR", runtime.to_str().unwrap())
        .env("BOOTSTRAP", runtime.join("bootstrap").to_str().unwrap())
        .env("EMULATOR", &emulator)
        .env("EQUAL", "4=4")
        .env("_PRIVATE", "x")
        .without("FUNCTION_TTL")
        .dir("task")
}

fn invoke(port: u16, event: &str) -> http::Response {
    http::send(port, INVOKE, "", event.as_bytes())
}

fn left(answer: &Value) -> u64 {
    answer["left"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn en_20_the_emulators_image() {
    let setup = image("aws-lambda-rie");
    let entry = setup.path().join("entry.sh").to_str().unwrap().to_owned();
    let shim = setup.arg(&entry).arg("app.handler").start();
    for _ in 0..2 {
        let answer = invoke(shim.port(), "{}").json();
        assert_eq!(answer["arn"], "arn:aws:lambda:us-east-1:012345678912:function:test_function");
        assert_eq!(answer["memory"], "3008");
        assert!((290_000..=300_000).contains(&left(&answer)), "{answer}");
        let env = json!({
            "EQUAL": "4=4", "_PRIVATE": null, "_HANDLER": "app.handler", "AWS_LAMBDA_FUNCTION_NAME": "test_function"
        });
        assert_eq!(answer["env"], env);
    }
    let other = shim.invoke("{}");
    assert_eq!((other.status, other.text()), (404, "404 page not found\n"));
    let failed = invoke(shim.port(), r#"{"do": "raise"}"#);
    let error = failed.json();
    assert_eq!((failed.status, &error["errorMessage"]), (200, &json!("raised")));
    assert_eq!(error["errorType"], "Exception");
    assert!(error["stackTrace"][0].as_str().unwrap().contains("app.py"), "{error}");
}

/// The other way round: the image's entry point starts the emulator, and options stand behind the command.
#[test]
fn the_emulator_is_started_by_the_entry_point_too() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let setup = image("aws-lambda-rie-x86_64").env("AWS_LAMBDA_FUNCTION_NAME", "crow");
    let bootstrap = official_python::runtime().join("bootstrap");
    let shim = setup
        .arg(bootstrap.to_str().unwrap())
        .arg("app.handler")
        .arg("--runtime-interface-emulator-address")
        .arg(&format!("127.0.0.1:{port}"))
        .arg(&format!("--runtime-api-address=127.0.0.1:{api}"))
        .arg("--log-level=debug")
        .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "2")
        .start();
    assert_eq!(shim.port(), port, "the option beats PORT");
    let answer = invoke(port, "{}").json();
    assert_eq!(answer["arn"], "arn:aws:lambda:us-east-1:012345678912:function:crow");
    assert!(left(&answer) <= 2000, "{answer}");
    let late = invoke(port, r#"{"do": "sleep"}"#);
    assert_eq!((late.status, late.text()), (200, "Task timed out after 2.00 seconds"));
    assert!(std::net::TcpStream::connect(("127.0.0.1", api)).is_ok(), "the Runtime API is where it was told");
    assert!(shim.stderr().contains("DEBUG") || shim.stderr().contains("INFO"), "{}", shim.stderr());
}

#[test]
fn entry_points_that_start_the_emulator_themselves() {
    let setup = image("aws-lambda-rie").env("PORT", "0");
    let entry = setup.path().join("entry.sh").to_str().unwrap().to_owned();
    let shim = setup.through(&[&entry, "app.handler"], false).start();
    assert_eq!(invoke(shim.port(), "{}").json()["env"]["_HANDLER"], "app.handler");
}

#[test]
fn ce_20_ce_21_lm_28_aws_custom_runtimes_image() {
    // No interpreter line: it was started by a shell.
    let bootstrap =
        format!("exec {} -S \"$LAMBDA_TASK_ROOT/actor.py\"\n", crate::harness::python().display());
    let shim = Setup::named("aws-custom-runtime")
        .bootstrap(&bootstrap)
        .actor_file("task/actor.py")
        .without("FUNCTION_TTL")
        .env("FUNCTION_TTL", "2s")
        // 80 and 9092 may be taken on this machine.
        .env("INTERNAL_API_PORT", "0")
        .env("METRICS_PROMETHEUS_PORT", "0")
        .start();
    let answer = shim.invoke(r#"{"a":1}"#);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("plain/text")));
    assert_eq!(answer.text(), r#"{"a": 1}"#);
    let failed = shim.invoke(&act("error", &[]));
    assert_eq!((failed.status, failed.header("content-type")), (500, Some("plain/text")));
    let large = http::post(shim.port(), &vec![b'x'; 5_000_001]);
    assert_eq!((large.status, large.text()), (413, "http: request body too large\n"));
    assert_eq!(shim.invoke(&act("hang", &[])).status, 410);
    assert_eq!(shim.invoke("1").text(), "1");
}

/// The port that its images hard-code is served beside the workers' own. In a network of its own, where 80 is free; the
/// caller sits in there, too.
#[test]
fn a_runtime_that_hard_codes_its_port() {
    if !can_unshare_networks() {
        return;
    }
    let program = r#"
import threading
connection = http.client.HTTPConnection("127.0.0.1:80")
def caller():
    wait("port")
    front = http.client.HTTPConnection("127.0.0.1", int(open(path("port")).read()))
    front.request("POST", "/", b"1")
    touch("answer", front.getresponse().read().decode())
threading.Thread(target=caller, daemon=True).start()
while True:
    id, body, headers = next_event()
    respond(id, json.dumps(API))
"#;
    let setup = Setup::named("aws-custom-runtime").python_bootstrap(program).in_network_namespace();
    let shim = setup.start();
    let told: Value = serde_json::from_str(&shim.wait_file("answer")).unwrap();
    let told = told.as_str().unwrap();
    assert!(
        told.starts_with("127.0.0.1:") && told != "127.0.0.1:80",
        "workers are told of their own: {told}"
    );
}

/// Whether this machine lets us make networks.
fn can_unshare_networks() -> bool {
    let made = Command::new("unshare").args(["--net", "true"]).status();
    let can = made.is_ok_and(|status| status.success());
    if !can {
        skip("no network namespaces");
    }
    can
}
