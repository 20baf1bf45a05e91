//! What real clients get at a function's address: AWS's SDK, browsers in front of a web framework, senders of CloudEvents.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tm_testkit::{machine::Machine, tools};

use crate::{
    machine,
    support::{deploy, folder},
};

/// Prints what the SDK made of an invoke and of a stream.
const BOTO3: &str = r#"
import json, sys, boto3
from botocore.config import Config
config = Config(retries={"total_max_attempts": 1}, region_name="us-east-1")
client = boto3.client("lambda", endpoint_url=sys.argv[1], config=config, aws_access_key_id="x", aws_secret_access_key="x")
answer = client.invoke(FunctionName="plain", Payload=b'{"name":"Foo"}', LogType="Tail")
failed = client.invoke(FunctionName="plain", Payload=b'{}')
stream = client.invoke_with_response_stream(FunctionName="streaming", Payload=b'{}')
chunks = [event["PayloadChunk"]["Payload"].decode() for event in stream["EventStream"] if "PayloadChunk" in event]
print(json.dumps({"payload": json.load(answer["Payload"]), "tail": "LogResult" in answer, "error": failed["FunctionError"],
                  "text": "".join(chunks)}))
"#;

const PLAIN: &str = "def handler(event, context):\n    return f\"Hello {event['name']}!\"\n";

const STREAMING: &str = "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  \
                         stream.write('first, '); stream.end('last');\n});\n";

const WEB: &str = r#"
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from mangum import Mangum

def page(request):
    response = JSONResponse({"id": request.path_params["id"], "egg": request.cookies.get("egg"), "q": request.query_params["q"]})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response

def image(request):
    return Response(b"\x89PNG\r\n\x1a\n\0\xff", media_type="image/png")

handler = Mangum(Starlette(routes=[Route("/page/{id}", page), Route("/image", image)]), lifespan="off")
"#;

/// Packages from PyPI, fetched once.
fn packages(python: &Path, name: &str) -> PathBuf {
    tools::cached(env!("CARGO_TARGET_TMPDIR"), &format!("python-{}", name.replace("==", "-")), |folder| {
        let mut pip = std::process::Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
            .arg(folder)
            .arg(name);
        let output = pip.output().expect("pip runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    })
}

#[tokio::test]
async fn boto3_invokes_and_streams() -> Result<()> {
    let (Some(python), Some(_)) = (tools::find("python3"), tools::find("npm")) else { return Ok(()) };
    let machine = machine();
    for (name, file, text) in [("plain", "main.py", PLAIN), ("streaming", "index.js", STREAMING)] {
        let source = folder(&machine, name, &[(file, text)]);
        machine.tm_ok(["deploy", "service", name, "-f", &source, "--wait"]).await?;
    }
    let packages = packages(&python, "boto3==1.44.5");
    let url = format!("http://{}", machine.functions().await?);
    let mut command = machine.command(&python);
    command.env("PYTHONPATH", packages).args(["-c", BOTO3, &url]);
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let wanted = json!({"payload": "Hello Foo!", "tail": true, "error": "Unhandled", "text": "first, last"});
    ensure!(said == wanted, "{said}");
    Ok(())
}

/// What curl shows of an answer: head and body, as bytes.
async fn curl(machine: &Machine, service: &str, path: &str, args: &[&str]) -> Result<(String, Vec<u8>)> {
    let url = format!("http://{}{path}", machine.functions().await?);
    let host = format!("Host: {}", machine.host(service));
    let mut command = machine.command("curl");
    let output = command.args(["-s", "-i", "-m", "60", "-H", &host, &url]).args(args).output().await?;
    let at = output.stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("a head")?;
    let head = String::from_utf8_lossy(&output.stdout[..at]).to_lowercase();
    Ok((head, output.stdout[at + 4..].to_vec()))
}

#[tokio::test]
async fn a_web_framework_answers_pages_cookies_and_images() -> Result<()> {
    if !(tools::has("python3") && tools::has("curl")) {
        return Ok(());
    }
    let machine = machine();
    let source = folder(
        &machine,
        "web",
        &[("app.py", WEB), ("requirements.txt", "mangum==0.22.0\nstarlette==0.48.0\n")],
    );
    let format = "TM_EVENT_FORMAT=apigateway-v2";
    let handler = "HANDLER=app.handler";
    let args =
        ["deploy", "service", "web", "-f", &source, "-e", format, "--build-argument", handler, "--wait"];
    machine.tm_ok(args).await?;
    let (head, body) = curl(&machine, "web", "/page/7?q=a%20b", &["-H", "Cookie: egg=spam"]).await?;
    ensure!(head.starts_with("http/1.1 200") && head.contains("content-type: application/json"), "{head}");
    ensure!(head.contains("set-cookie: a=1") && head.contains("set-cookie: b=2"), "{head}");
    let page: Value = serde_json::from_slice(&body)?;
    ensure!(page == json!({"id": "7", "egg": "spam", "q": "a b"}), "{page}");
    let (head, body) = curl(&machine, "web", "/image", &[]).await?;
    ensure!(
        head.contains("content-type: image/png") && body == b"\x89PNG\r\n\x1a\n\0\xff",
        "{head}: {body:?}"
    );
    let (head, _) = curl(&machine, "web", "/nowhere", &[]).await?;
    ensure!(head.starts_with("http/1.1 404"), "{head}");
    Ok(())
}

#[tokio::test]
async fn cloud_events_in_and_out() -> Result<()> {
    if !tools::has("curl") {
        return Ok(());
    }
    let machine = machine();
    deploy(&machine, "events", r#"printf %s "$event""#, &["-e", "TM_EVENT_FORMAT=cloudevents"]).await;
    let event =
        json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"name": "Foo"}})
            .to_string();
    let kind = "Content-Type: application/cloudevents+json";
    let (head, body) = curl(&machine, "events", "/", &["-H", kind, "-d", &event]).await?;
    ensure!(
        head.starts_with("http/1.1 200") && head.contains("content-type: application/cloudevents+json"),
        "{head}"
    );
    let reply: Value = serde_json::from_slice(&body)?;
    ensure!(reply["specversion"] == "1.0" && reply["data"] == json!({"name": "Foo"}), "{reply}");
    Ok(())
}
