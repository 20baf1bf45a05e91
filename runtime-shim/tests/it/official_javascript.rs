//! AWS's SDK for JavaScript (`@aws-sdk/client-lambda` from npm) judges the Invoke API.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tm_testkit::tools::has;

use crate::harness::{Setup, Shim};
use crate::tools;

const VERSION: &str = "3.1164.0";

const PROGRAM: &str = r"
import { InvokeCommand, InvokeWithResponseStreamCommand, LambdaClient } from '@aws-sdk/client-lambda';
const client = new LambdaClient({
  endpoint: process.argv[2], region: 'us-east-1', maxAttempts: 1,
  credentials: { accessKeyId: 'x', secretAccessKey: 'y' },
});
const text = (bytes) => Buffer.from(bytes ?? []).toString();
const invoke = (Payload, more) => client.send(new InvokeCommand({ FunctionName: 'stork', Payload, ...more }));
const results = {};
const good = await invoke(JSON.stringify({ a: [1, null] }), { LogType: 'Tail' });
results.good = [good.StatusCode, JSON.parse(text(good.Payload)), good.FunctionError ?? null];
results.log = Buffer.from(good.LogResult, 'base64').toString().includes('REPORT RequestId: ' + good.$metadata.requestId);
const bad = await invoke(JSON.stringify('fail'));
results.bad = [bad.StatusCode, bad.FunctionError, JSON.parse(text(bad.Payload)).errorType];
results.dry = (await invoke('{}', { InvocationType: 'DryRun' })).StatusCode;
results.event = (await invoke('{}', { InvocationType: 'Event' })).StatusCode;
const stranger = client.send(new InvokeCommand({ FunctionName: 'somebody', Payload: '{}' }));
results.stranger = await stranger.catch((error) => [error.name, error.$metadata.httpStatusCode]);
const stream = await client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'stork', Payload: '[2]' }));
results.streamed = '';
for await (const event of stream.EventStream) {
  if (event.PayloadChunk) results.streamed += text(event.PayloadChunk.Payload);
  if (event.InvokeComplete) results.complete = event.InvokeComplete.ErrorCode ?? null;
}
console.log(JSON.stringify(results));
";

const FUNCTION: &str = "
while True:
    id, body, headers = next_event()
    if json.loads(body) == 'fail':
        fail(id, json.dumps({'errorType': 'Sulk', 'errorMessage': 'no', 'stackTrace': []}))
    else:
        respond(id, body)
";

fn sdk() -> PathBuf {
    tools::cached(&format!("node-aws-sdk-client-lambda-{VERSION}"), |folder| {
        let npm = ["install", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts", "--prefix"];
        tools::run(
            Command::new("npm").args(npm).arg(folder).arg(format!("@aws-sdk/client-lambda@{VERSION}")),
        );
    })
}

fn judge(shim: &Shim) -> Value {
    // Modules are looked up from where the program is.
    let program = tempfile::Builder::new().suffix(".mjs").tempfile_in(sdk()).unwrap();
    std::fs::write(program.path(), PROGRAM).unwrap();
    let endpoint = format!("http://127.0.0.1:{}", shim.port());
    let said = tools::output(Command::new("node").arg(program.path()).arg(endpoint));
    serde_json::from_str(&said).unwrap()
}

#[test]
fn invokes_and_streams() {
    if !["node", "npm"].iter().all(|tool| has(tool)) {
        return;
    }
    let shim = Setup::python(FUNCTION).env("AWS_LAMBDA_FUNCTION_NAME", "stork").start();
    assert_eq!(
        judge(&shim),
        json!({
            "good": [200, {"a": [1, null]}, null],
            "log": true,
            "bad": [200, "Unhandled", "Sulk"],
            "dry": 204,
            "event": 202,
            "stranger": ["ResourceNotFoundException", 404],
            "streamed": "[2]",
            "complete": null,
        })
    );
}
