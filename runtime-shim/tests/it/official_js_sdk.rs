//! AWS's SDK for JavaScript (`@aws-sdk/client-lambda` from npm) judges the Invoke API: it parses event streams and error shapes
//! with code of its own.

use std::process::Command;

use serde_json::{Value, json};
use tm_testkit::tools::has;

use crate::official_boto3::start;
use crate::tools;

const PACKAGE: &str = "@aws-sdk/client-lambda@3.1164.0";

const PROGRAM: &str = r"
const { LambdaClient, InvokeCommand, InvokeWithResponseStreamCommand } = require('@aws-sdk/client-lambda');
const client = new LambdaClient({ endpoint: process.argv[1], region: 'us-east-1', maxAttempts: 1,
                                  credentials: { accessKeyId: 'nobody', secretAccessKey: 'nothing' } });
const text = (bytes) => Buffer.from(bytes || []).toString();
const invoke = async (more) => {
  const answer = await client.send(new InvokeCommand({ FunctionName: 'stork', ...more }));
  return { status: answer.StatusCode, error: answer.FunctionError, version: answer.ExecutedVersion,
           payload: text(answer.Payload), log: text(Buffer.from(answer.LogResult || '', 'base64')).includes('REPORT') };
};
const stream = async (event) => {
  const command = new InvokeWithResponseStreamCommand({ FunctionName: 'stork', Payload: JSON.stringify(event) });
  const answer = await client.send(command);
  const seen = { chunks: [], end: null };
  for await (const part of answer.EventStream) {
    if (part.PayloadChunk) seen.chunks.push(text(part.PayloadChunk.Payload));
    if (part.InvokeComplete) seen.end = part.InvokeComplete;
  }
  return seen;
};
const refused = (call) => call.then(() => null, (error) => ({ name: error.name, status: error.$metadata.httpStatusCode }));
(async () => console.log(JSON.stringify([
  await invoke({ Payload: '{\x22a\x22:1}', LogType: 'Tail' }),
  await invoke({ Payload: JSON.stringify({ do: 'error' }) }),
  await invoke({ InvocationType: 'DryRun' }),
  await stream({ do: 'stream', pieces: ['one ', 'two'] }),
  await stream({ do: 'stream', pieces: ['a', { trailers: 'Own.Error' }] }),
  await refused(client.send(new InvokeCommand({ FunctionName: 'crow' }))),
  await refused(client.send(new InvokeCommand({ FunctionName: 'stork', Payload: '{' }))),
])))();
";

#[test]
fn invoke_and_streams() {
    if !(has("node") && has("npm")) {
        return;
    }
    let packages = tools::cached("node-aws-sdk-client-lambda-3.1164.0", |folder| {
        let npm = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix"];
        tools::run(Command::new("npm").args(npm).arg(folder).arg(PACKAGE));
    });
    let shim = start();
    let output = Command::new("node")
        .current_dir(&packages)
        .args(["-e", PROGRAM, &format!("http://127.0.0.1:{}", shim.port())])
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let answers: Vec<Value> = serde_json::from_str(&out).unwrap();
    let [good, failed, dry, stream, broken, missing, bad] = &answers[..] else { panic!("{out}") };
    assert_eq!(
        (&good["status"], &good["payload"], &good["log"]),
        (&json!(200), &json!("{\"a\": 1}"), &json!(true))
    );
    assert_eq!((&good["version"], good.get("error")), (&json!("$LATEST"), None));
    assert_eq!((&failed["status"], &failed["error"]), (&json!(200), &json!("Unhandled")));
    assert_eq!(dry["status"], 204);
    assert_eq!((&stream["chunks"], &stream["end"]), (&json!(["one ", "two"]), &json!({})));
    assert_eq!((&broken["chunks"], &broken["end"]["ErrorCode"]), (&json!(["a"]), &json!("Own.Error")));
    assert_eq!(missing, &json!({"name": "ResourceNotFoundException", "status": 404}));
    assert_eq!(bad, &json!({"name": "InvalidRequestContentException", "status": 400}));
}
