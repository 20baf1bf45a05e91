//! Our Node.js client against AWS's (`aws-lambda-ric` from npm): the same functions under both, answer by answer.
//!
//! The published client brings its transport as C++ (aws-lambda-cpp and curl), which is compiled here once, in about two
//! minutes, and kept below cargo's target directory. Without the tools for that the comparison is skipped, loudly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tm_testkit::tools::has;

use crate::harness::{Setup, Shim};
use crate::http::Response;
use crate::official_boto3::boto3;
use crate::tools;

const VERSION: &str = "3.3.0";

/// What compiles the client, besides npm.
const COMPILERS: [&str; 6] = ["autoconf", "automake", "libtoolize", "cmake", "g++", "make"];

const APP: &str = r"
const later = (value) => new Promise((done) => setTimeout(done, 2, value));
exports.echo = async (event) => event;
exports.returns = (event) => event;
exports.promise = (event) => later(event);
exports.callback = (event, context, callback) => { setTimeout(callback, 2, null, { got: event }); };
exports.callbackError = (event, context, callback) => callback(new RangeError('called back'));
exports.callbackText = (event, context, callback) => callback('just text');
exports.noWait = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = false;
  setTimeout(() => {}, 60000);
  callback(null, 'early');
};
exports.waits = (event, context, callback) => {
  const result = { late: false };
  setTimeout(() => { result.late = true; }, 20);
  callback(null, result);
};
exports.succeed = (event, context) => context.succeed('done');
exports.fail = (event, context) => context.fail(new Error('failed'));
exports.done = (event, context) => context.done(null, 1);
exports.throws = () => { throw new TypeError('thrown'); };
exports.rejects = async () => { const e = new Error('rejected'); e.name = 'MyError'; e.code = 'E1'; throw e; };
exports.rejectsText = () => Promise.reject('text');
exports.undefinedResult = async () => undefined;
exports.cyclic = async () => { const a = {}; a.a = a; return a; };
exports.context = async (event, c) => ({
  id: typeof c.awsRequestId, name: c.functionName, version: c.functionVersion, memory: c.memoryLimitInMB,
  arn: c.invokedFunctionArn, group: c.logGroupName, left: c.getRemainingTimeInMillis() > 0,
  client: c.clientContext === undefined, waits: c.callbackWaitsForEmptyEventLoop,
});
exports.nested = { deep: { handler: async () => 'nested' } };
exports.notAFunction = 5;
exports.stream = awslambda.streamifyResponse(async (event, stream) => { stream.write('one '); stream.end('two'); });
exports.pipe = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType('text/plain');
  await require('stream/promises').pipeline(require('stream').Readable.from(['a', 'b', 'c']), stream);
});
exports.http = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { a: 'b' } });
  stream.write('body');
  stream.end();
});
exports.streamThrows = awslambda.streamifyResponse(async () => { throw new Error('before'); });
exports.streamBreaks = awslambda.streamifyResponse(async (event, stream) => {
  await new Promise((done) => stream.write('part', done));
  throw new Error('after');
});
";

fn can_compare() -> bool {
    ["node", "npm"].iter().chain(&COMPILERS).all(|tool| has(tool))
}

/// The published client, compiled for the Node.js that is here.
fn published() -> PathBuf {
    let abi = tools::output(Command::new("node").args(["-p", "process.versions.modules"]));
    tools::cached(&format!("node-aws-lambda-ric-{VERSION}-compiled-abi-{}", abi.trim()), |folder| {
        let npm = ["install", "--no-audit", "--no-fund", "--omit=dev", "--foreground-scripts", "--prefix"];
        tools::run(Command::new("npm").args(npm).arg(folder).arg(format!("aws-lambda-ric@{VERSION}")));
        let addon = package(folder).join("dist/rapid-client.node");
        assert!(addon.is_file(), "npm ran no install script: there is no {}", addon.display());
        // The sources, 150 MB; the addon is linked statically with what was made of them.
        fs::remove_dir_all(package(folder).join("deps")).unwrap();
    })
}

fn package(folder: &Path) -> PathBuf {
    folder.join("node_modules/aws-lambda-ric")
}

fn setup(handler: &str) -> Setup {
    Setup::empty()
        .file("task/app.js", APP, 0o644)
        .file("task/esm/module.mjs", "export const handler = async (event) => ({ esm: event });", 0o644)
        .file("task/typed/package.json", r#"{"type":"module"}"#, 0o644)
        .file(
            "task/typed/dist/module.js",
            "export const handler = async () => import.meta.url.slice(-9);",
            0o644,
        )
        .file("task/common.cjs", "exports.handler = async () => 'cjs';", 0o644)
        .file("task/syntax.js", "exports.handler = (", 0o644)
        .file("task/requires.js", "require('nothing-of-that-name');", 0o644)
        .file("task/throws.js", "throw new Error('at load');", 0o644)
        .env("_HANDLER", handler)
        .env("FUNCTION_TTL", "10s")
}

fn ours(handler: &str) -> Shim {
    ours_setup(handler).start()
}

fn theirs(handler: &str) -> Shim {
    theirs_setup(handler).start()
}

fn ours_setup(handler: &str) -> Setup {
    let runtime = tools::repository("build-tasks/runtimes/node");
    setup(handler).env("LAMBDA_RUNTIME_DIR", runtime.to_str().unwrap())
}

fn theirs_setup(handler: &str) -> Setup {
    let client = published();
    let setup = setup(handler);
    let task = setup.path().join("task");
    let bootstrap = format!(
        "#!/bin/sh\ncd '{}' && exec node '{}' \"$_HANDLER\"\n",
        task.display(),
        package(&client).join("bin/index.mjs").display()
    );
    setup.bootstrap(&bootstrap)
}

/// What must be the same: everything but where the client itself lies, and its own frames.
fn comparable(answer: &Response) -> Value {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Some(trace) = body.get_mut("trace").and_then(Value::as_array_mut) {
        trace.truncate(1);
    }
    if let Some(Value::String(message)) = body.get_mut("errorMessage") {
        // `Require stack:` names the file of the client that asked.
        message.truncate(message.find("\n- ").unwrap_or(message.len()));
    }
    json!({"status": answer.status, "blamed": answer.blamed(), "body": body})
}

fn assert_same(handlers: &[&str]) {
    if !can_compare() {
        return;
    }
    for handler in handlers {
        let (ours, theirs) = (ours(handler), theirs(handler));
        for event in [r#"{"a":1}"#, "null"] {
            let (mine, published) = (ours.invoke(event), theirs.invoke(event));
            assert_eq!(comparable(&mine), comparable(&published), "{handler} {event}");
        }
    }
}

#[test]
fn handlers_of_every_style() {
    assert_same(&[
        "app.echo",
        "app.returns",
        "app.promise",
        "app.callback",
        "app.noWait",
        "app.waits",
        "app.succeed",
        "app.done",
        "app.undefinedResult",
        "app.context",
        "app.nested.deep.handler",
    ]);
}

#[test]
fn errors_of_every_style() {
    assert_same(&[
        "app.callbackError",
        "app.callbackText",
        "app.fail",
        "app.throws",
        "app.rejects",
        "app.rejectsText",
        "app.cyclic",
    ]);
}

#[test]
fn modules_and_folders() {
    assert_same(&["esm/module.handler", "typed/dist/module.handler", "common.handler"]);
}

#[test]
fn init_errors() {
    assert_same(&[
        "app.missing",
        "app.notAFunction",
        "nothing.handler",
        "syntax.handler",
        "requires.handler",
        "throws.handler",
        "../app.echo",
        "nodot",
    ]);
}

#[test]
fn streams() {
    assert_same(&["app.stream", "app.pipe", "app.http", "app.streamThrows", "app.streamBreaks"]);
}

/// The same streams under both clients, as boto3 sees them while they are made. (A stream that throws before its first byte is
/// an error of the invoke under ours, and an empty stream that failed under theirs.)
#[test]
fn st_05_streams_reach_sdks() {
    if !can_compare() {
        return;
    }
    let program = r#"
whole = streamed(Payload=b'{"a": 1}')
show({"all": "".join(whole["chunks"]), "end": whole["end"].get("ErrorCode"), "type": whole["remapped"]})
"#;
    for handler in ["app.stream", "app.pipe", "app.http", "app.streamBreaks", "app.echo"] {
        let any = |setup: Setup| setup.env("TM_INVOKE_API", "any-name").env("INVOKER_COUNT", "1");
        let [mine, published] = [any(ours_setup(handler)), any(theirs_setup(handler))].map(|setup| {
            let mut seen = boto3(&setup.start(), program);
            // The frames of the client itself differ.
            if let Some(at) = seen["all"].as_str().and_then(|all| all.find("\"trace\"")) {
                seen["all"] = json!(seen["all"].as_str().unwrap()[..at]);
            }
            seen
        });
        assert_eq!(mine, published, "{handler}");
        let all = mine["all"].as_str().unwrap();
        match handler {
            "app.stream" => assert_eq!(all, "one two"),
            "app.pipe" => assert_eq!((all, &mine["type"]), ("abc", &json!("text/plain"))),
            "app.http" => assert!(all.ends_with("\0\0\0\0\0\0\0\0body"), "{all:?}"),
            "app.streamBreaks" => assert_eq!((all, &mine["end"]), ("part", &json!("Error"))),
            _ => {}
        }
    }
}

/// Where the published client exits with a code of its own, or differs between versions, ours is held to the contract.
#[test]
fn uncaught_errors_end_the_process_and_are_the_invokes_result() {
    if !has("node") {
        return;
    }
    let app = r"
exports.uncaught = () => new Promise(() => setTimeout(() => { throw new RangeError('nobody caught me'); }, 1));
exports.unhandled = () => new Promise((done) => { Promise.reject(new Error('nobody handled me')); setTimeout(done, 100); });
exports.never = () => new Promise(() => {});
";
    for (handler, error_type) in [
        ("odd.uncaught", "RangeError"),
        ("odd.unhandled", "Runtime.UnhandledPromiseRejection"),
        ("odd.never", "Runtime.NodeJsExit"),
    ] {
        let runtime = tools::repository("build-tasks/runtimes/node");
        let shim = setup(handler)
            .file("task/odd.js", app, 0o644)
            .env("LAMBDA_RUNTIME_DIR", runtime.to_str().unwrap())
            .start();
        for _ in 0..2 {
            let answer = shim.invoke("1");
            assert_eq!((answer.status, answer.blamed()), (500, true), "{}", answer.text());
            assert_eq!(answer.json()["errorType"], error_type);
        }
    }
}

#[test]
fn console_lines_have_time_id_and_level() {
    if !has("node") {
        return;
    }
    let app =
        "exports.handler = async (event, context) => { console.warn('two\\nlines', { a: 1 }); return 1; };";
    let runtime = tools::repository("build-tasks/runtimes/node");
    let shim = setup("talks.handler")
        .file("task/talks.js", app, 0o644)
        .env("LAMBDA_RUNTIME_DIR", runtime.to_str().unwrap())
        .start();
    let id = shim.invoke("1").id().to_owned();
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains(&format!("Z\t{id}\tWARN\ttwo\rlines {{ a: 1 }}\nEND")), "{log}");
}

/// EN-12: where `require` looks besides the function's own folder.
#[test]
fn en_12_modules_are_where_managed_images_have_them() {
    if !has("node") {
        return;
    }
    let app = "exports.handler = async () => [process.versions.node.split('.')[0], process.env.NODE_PATH.split(':')];";
    let runtime = tools::repository("build-tasks/runtimes/node");
    let shim = setup("paths.handler")
        .file("task/paths.js", app, 0o644)
        .env("LAMBDA_RUNTIME_DIR", runtime.to_str().unwrap())
        .start();
    let answer = shim.invoke("1").json();
    let folders: Vec<&str> = answer[1].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let major = answer[0].as_str().unwrap();
    let runtime_modules = format!("{}/node_modules", runtime.display());
    let layers = format!("/opt/nodejs/node{major}/node_modules");
    assert_eq!(folders[..3], [&layers, "/opt/nodejs/node_modules", &runtime_modules]);
    assert!(folders[3].ends_with("/task"), "{folders:?}");
}
