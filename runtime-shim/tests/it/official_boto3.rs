//! AWS's own callers (boto3 and the aws CLI from PyPI) judge the Invoke API.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Setup, Shim, act, python};
use crate::{http, tools};

const BOTO3: &str = "boto3==1.44.5";
const AWSCLI: &str = "awscli==1.46.3";

fn packages(name: &str, package: &str) -> PathBuf {
    tools::cached(name, |folder| {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        tools::run(Command::new(python()).args(pip).arg(folder).arg(package));
    })
}

/// A client for the shim, and `show` for what it answers.
const CLIENT: &str = r#"
import base64, json, os, sys, boto3
from botocore.config import Config
config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
client = boto3.client("lambda", endpoint_url=sys.argv[1], config=config)


def invoke(**more):
    answer = client.invoke(FunctionName="stork", **more)
    answer["Payload"] = answer["Payload"].read().decode()
    meta = answer.pop("ResponseMetadata")
    answer["Headers"], answer["Retries"] = meta["HTTPHeaders"], meta["RetryAttempts"]
    return answer


def refused(call):
    try:
        return call()
    except client.exceptions.ClientError as error:
        meta = error.response["ResponseMetadata"]
        return {"class": type(error).__name__, "error": error.response["Error"], "status": meta["HTTPStatusCode"],
                "more": {k: v for k, v in error.response.items() if k not in ("Error", "ResponseMetadata")}}


def streamed(**more):
    answer = client.invoke_with_response_stream(FunctionName="stork", **more)
    events = [event for event in answer["EventStream"]]
    chunks = [event["PayloadChunk"]["Payload"].decode() for event in events if "PayloadChunk" in event]
    return {"status": answer["StatusCode"], "version": answer.get("ExecutedVersion"),
            "type": answer.get("ResponseStreamContentType"), "chunks": chunks, "end": events[-1].get("InvokeComplete"),
            "ends": sum("InvokeComplete" in event for event in events),
            "remapped": answer["ResponseMetadata"]["HTTPHeaders"].get("x-amzn-remapped-content-type")}


def show(value):
    print(json.dumps(value, default=str))
"#;

/// Runs a program with the client, against the shim; its one line of JSON.
pub(crate) fn boto3(shim: &Shim, program: &str) -> Value {
    let mut command = caller(shim, &packages("python-boto3-1.44.5", BOTO3));
    let output = command
        .arg("-c")
        .arg(format!("{CLIENT}\n{program}"))
        .arg(url(shim))
        .arg(shim.work(""))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}{err}"))
}

fn url(shim: &Shim) -> String {
    format!("http://127.0.0.1:{}", shim.port())
}

/// Python with these packages and the credentials of nobody.
fn caller(shim: &Shim, packages: &std::path::Path) -> Command {
    let mut command = Command::new(python());
    command
        .env("PYTHONPATH", packages)
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .env("AWS_SECRET_ACCESS_KEY", "nothing")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", shim.work(""))
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_CONFIG_FILE")
        // The machine may have a proxy; this is not for it.
        .env("NO_PROXY", "*");
    command
}

pub(crate) fn start() -> Shim {
    Setup::actor().env("AWS_LAMBDA_FUNCTION_NAME", "stork").start()
}

#[test]
fn in_09_in_16_invoke() {
    let shim = start();
    let answer = boto3(&shim, r#"show(invoke(Payload=b'{"a": 1}', LogType="Tail"))"#);
    assert_eq!((&answer["StatusCode"], &answer["Payload"]), (&json!(200), &json!("{\"a\": 1}")));
    assert_eq!((&answer["ExecutedVersion"], &answer["Retries"]), (&json!("$LATEST"), &json!(0)));
    assert!(answer.get("FunctionError").is_none());
    let log = boto3(&shim, r#"show(base64.b64decode(invoke(LogType="Tail")["LogResult"]).decode())"#);
    assert!(log.as_str().unwrap().contains("REPORT RequestId: "), "{log}");
    let failed = boto3(&shim, r#"show(invoke(Payload=b'{"do": "error"}'))"#);
    assert_eq!((&failed["StatusCode"], &failed["FunctionError"]), (&json!(200), &json!("Unhandled")));
    assert_eq!((&failed["Retries"], failed["Payload"].as_str().unwrap().contains("Oops")), (&json!(0), true));
    assert_eq!(boto3(&shim, "show(invoke()['Payload'])"), "{}");
    assert_eq!(boto3(&shim, "show(invoke(Payload=json.dumps({'do': 'empty'}))['Payload'])"), "");
}

#[test]
fn in_03_events_and_dry_runs() {
    let shim = start();
    let answer =
        boto3(&shim, r#"show(invoke(InvocationType="Event", Payload=b'{"do": "say", "text": "heard"}'))"#);
    assert_eq!((&answer["StatusCode"], &answer["Payload"]), (&json!(202), &json!("")));
    assert!(shim.wait_log("REPORT", 1).contains("\nheard\n"));
    assert_eq!(boto3(&shim, r#"show(invoke(InvocationType="DryRun")["StatusCode"])"#), 204);
}

#[test]
fn in_02_in_06_context_qualifier_and_tenant() {
    let shim = start();
    let program = r#"
context = base64.b64encode(json.dumps({"custom": {"egg": "é"}}).encode()).decode()
event = json.dumps({"do": "headers"})
show(json.loads(invoke(ClientContext=context, Qualifier="blue", TenantId="acme", Payload=event)["Payload"]))
"#;
    let told = boto3(&shim, program);
    assert_eq!(told["Lambda-Runtime-Client-Context"], r#"{"custom": {"egg": "\u00e9"}}"#);
    assert_eq!(told["Lambda-Runtime-Aws-Tenant-Id"], "acme");
    let arn = told["Lambda-Runtime-Invoked-Function-Arn"].as_str().unwrap();
    assert!(arn.ends_with(":function:stork:blue"), "{arn}");
}

#[test]
fn in_19_in_22_errors_have_their_classes() {
    let shim = Setup::actor()
        .env("AWS_LAMBDA_FUNCTION_NAME", "stork")
        .env("INVOKER_COUNT", "1")
        .env("TM_QUEUE_LENGTH", "1")
        .start();
    let missing = boto3(&shim, "show(refused(lambda: client.invoke(FunctionName='crow')))");
    assert_eq!((&missing["class"], &missing["status"]), (&json!("ResourceNotFoundException"), &json!(404)));
    let message = missing["error"]["Message"].as_str().unwrap();
    assert_eq!(message, "Function not found: arn:aws:lambda:us-east-1:123456789012:function:crow:$LATEST");
    assert_eq!(missing["more"]["Type"], "User");
    let bad = boto3(&shim, "show(refused(lambda: invoke(Payload=b'{')))");
    assert_eq!(bad["class"], "InvalidRequestContentException");
    let large = boto3(&shim, "show(refused(lambda: invoke(Payload=b'\"' + b'x' * 7_000_000 + b'\"')))");
    assert_eq!((&large["class"], &large["status"]), (&json!("RequestTooLargeException"), &json!(413)));
    let mismatch =
        boto3(&shim, "show(refused(lambda: client.invoke(FunctionName='stork:a', Qualifier='b')))");
    assert_eq!(mismatch["class"], "InvalidParameterValueException");
    let word = boto3(&shim, "show(refused(lambda: invoke(InvocationType='Soon')))");
    assert_eq!(word["error"]["Code"], "ValidationException");

    let event = |event: &str| {
        let path = "/2015-03-31/functions/stork/invocations";
        http::send(shim.port(), path, "X-Amz-Invocation-Type: Event\r\n", event.as_bytes()).status
    };
    assert_eq!(event(&act("wait", &[("started", "started"), ("until", "go")])), 202);
    shim.wait_file("started");
    assert_eq!(event("1"), 202);
    let throttled = boto3(&shim, "show(refused(lambda: invoke()))");
    assert_eq!(
        (&throttled["class"], &throttled["status"]),
        (&json!("TooManyRequestsException"), &json!(429))
    );
    assert_eq!(throttled["more"]["retryAfterSeconds"], "1");
    assert_eq!(throttled["more"]["Reason"], "ConcurrentInvocationLimitExceeded");
    shim.touch("go");
}

#[test]
fn st_01_in_26_in_29_lm_29_streams() {
    let shim = start();
    let program = r#"
event = {"do": "stream", "type": "text/css", "pieces": ["one ", "two"]}
show([streamed(Payload=json.dumps(event), LogType="Tail"), invoke(Payload=json.dumps(event))])
"#;
    let both = boto3(&shim, program);
    let (stream, whole) = (&both[0], &both[1]);
    assert_eq!((&stream["chunks"], &stream["ends"]), (&json!(["one ", "two"]), &json!(1)));
    assert_eq!((&stream["version"], &stream["remapped"]), (&json!("$LATEST"), &json!("text/css")));
    assert_eq!(stream["type"], "application/vnd.amazon.eventstream");
    assert!(stream["end"]["LogResult"].is_string() && stream["end"].get("ErrorCode").is_none(), "{stream}");
    assert_eq!((&whole["Payload"], &whole["StatusCode"]), (&json!("one two"), &json!(200)));
    assert_eq!(whole["Headers"]["content-type"], "application/octet-stream");

    let plain = boto3(&shim, "show(streamed(Payload=b'[1]'))");
    assert_eq!((&plain["chunks"], &plain["remapped"]), (&json!(["[1]"]), &json!("application/json")));
    let failed = boto3(&shim, r#"show(streamed(Payload=b'{"do": "error"}'))"#);
    assert!(failed["chunks"][0].as_str().unwrap().contains("Oops"), "{failed}");
    assert_eq!((&failed["end"]["ErrorCode"], &failed["ends"]), (&json!("Unhandled"), &json!(1)));
    let middle =
        r#"show(streamed(Payload=json.dumps({"do": "stream", "pieces": ["a", {"trailers": "Own.Error"}]})))"#;
    let middle = boto3(&shim, middle);
    assert_eq!((&middle["chunks"], &middle["end"]["ErrorCode"]), (&json!(["a"]), &json!("Own.Error")));
    assert_eq!(middle["end"]["ErrorDetails"], r#"{"errorMessage": "late"}"#);
    let missing = "show(refused(lambda: client.invoke_with_response_stream(FunctionName='crow')))";
    assert_eq!(boto3(&shim, missing)["class"], "ResourceNotFoundException");
}

/// The function waits for the caller to have read each piece before it makes the next.
#[test]
fn st_04_pieces_arrive_while_the_function_still_runs() {
    let shim = start();
    let program = r#"
event = {"do": "stream", "pieces": ["a", {"wait": "go-1"}, "b", {"wait": "go-2"}, "c"]}
answer = client.invoke_with_response_stream(FunctionName="stork", Payload=json.dumps(event))
seen = []
for event in answer["EventStream"]:
    if "PayloadChunk" in event:
        seen.append(event["PayloadChunk"]["Payload"].decode())
        open(os.path.join(sys.argv[2], "go-%d" % len(seen)), "w").close()
show(seen)
"#;
    assert_eq!(boto3(&shim, program), json!(["a", "b", "c"]));
}

#[test]
fn results_too_large_leave_the_function_usable() {
    let shim = start();
    for _ in 0..2 {
        let answer = boto3(&shim, r#"show(invoke(Payload=b'{"do": "size", "bytes": "6291557"}'))"#);
        assert_eq!(answer["FunctionError"], "Unhandled");
        assert!(answer["Payload"].as_str().unwrap().contains("Function.ResponseSizeTooLarge"), "{answer}");
    }
}

#[test]
fn in_13_the_aws_cli() {
    let shim = start();
    let packages = packages("python-awscli-1.46.3", AWSCLI);
    let aws = |words: &[&str]| {
        let mut command = caller(&shim, &packages);
        command.arg(packages.join("bin/aws")).args(["lambda", "invoke", "--endpoint-url", &url(&shim)]);
        let output = command.args(["--function-name", "stork"]).args(words).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {out}{err}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let file = shim.work("out.json");
    let file = file.to_str().unwrap();
    // Version 1 of the CLI takes the payload as it is, version 2 with --cli-binary-format raw-in-base64-out.
    let answer = aws(&["--log-type", "Tail", "--payload", r#"{"name":"Foo"}"#, file]);
    assert_eq!((&answer["StatusCode"], &answer["ExecutedVersion"]), (&json!(200), &json!("$LATEST")));
    assert!(answer["LogResult"].is_string(), "{answer}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), r#"{"name": "Foo"}"#);
    let failed = aws(&["--payload", r#"{"do":"error"}"#, file]);
    assert_eq!(failed["FunctionError"], "Unhandled");
    assert_eq!(aws(&["--invocation-type", "Event", "--qualifier", "blue", file])["StatusCode"], 202);
    assert_eq!(aws(&["--invocation-type", "DryRun", file])["StatusCode"], 204);
}
