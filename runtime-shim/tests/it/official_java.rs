//! AWS's Java client (`aws-lambda-java-runtime-interface-client` from Maven Central) judges the shim. It calls the Runtime API
//! through C++ of its own for events and results, and through Java's HTTP client for errors.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tm_testkit::tools::has;

use crate::harness::{Setup, Shim};
use crate::tools;

/// The client and what it needs: group, artifact, version, SHA-256 of the archive. It brings native code, so the bytes are
/// pinned.
const JARS: [[&str; 4]; 4] = [
    [
        "com.amazonaws",
        "aws-lambda-java-runtime-interface-client",
        "2.9.0",
        "26568a5f63bf9e921567e77661be425650abc8972bae2aa0b7e99bab4e4239d9",
    ],
    [
        "com.amazonaws",
        "aws-lambda-java-core",
        "1.4.0",
        "575c24393cc1ad645e83e618956eabd89ffe8cc09efae2cb62bc6589154d68ed",
    ],
    [
        "com.amazonaws",
        "aws-lambda-java-serialization",
        "1.2.0",
        "1513c1f945a3213f916a4b2de1760c97b51d84d110f82bbbcf9cfac53d5651e7",
    ],
    [
        "software.amazon.awssdk",
        "utils-lite",
        "2.34.0",
        "efaf784f07ae526f0b5c89d71ef21cf16636131c47d44616e3df9bedc3f4f89a",
    ],
];

const APP: &str = r#"
import com.amazonaws.services.lambda.runtime.Context;
import java.io.*;
import java.nio.file.*;
import java.util.*;

public class App {
  public Object handle(Object event, Context context) throws Exception {
    String what = event instanceof Map ? (String) ((Map<?, ?>) event).get("do") : null;
    if (event instanceof Map && ((Map<?, ?>) event).containsKey("mine")) return meet((Map<?, ?>) event);
    if (what == null) return event;
    switch (what) {
      case "context":
        Map<String, Object> seen = new TreeMap<>();
        seen.put("id", context.getAwsRequestId());
        seen.put("name", context.getFunctionName());
        seen.put("version", context.getFunctionVersion());
        seen.put("arn", context.getInvokedFunctionArn());
        seen.put("memory", context.getMemoryLimitInMB());
        seen.put("left", context.getRemainingTimeInMillis() > 1000);
        seen.put("client", context.getClientContext() == null ? null : context.getClientContext().getCustom());
        return seen;
      case "text": return "\u00e9 \u2603";
      case "nothing": return null;
      case "log": context.getLogger().log("one\ntwo\n"); return 1;
      case "throw": throw new IllegalStateException("no", new IOException("cause"));
      case "exit": System.exit(3);
      default: return event;
    }
  }

  // Shows that it is there, and waits until another invoke is, too.
  private static Object meet(Map<?, ?> event) throws Exception {
    Path folder = Path.of(System.getenv("WORK"));
    Files.createFile(folder.resolve((String) event.get("mine")));
    while (!Files.exists(folder.resolve((String) event.get("other")))) Thread.sleep(2);
    return Map.of("met", event.get("other"));
  }

  public void stream(InputStream in, OutputStream out) throws IOException {
    byte[] event = in.readAllBytes();
    byte[] piece = new byte[1 << 20];
    Arrays.fill(piece, (byte) 'x');
    for (int i = 0; i < event.length; i++) out.write(piece);
  }
}
"#;

const BROKEN: &str = r"
public class Broken {
  static final int NOT = Integer.parseInt(System.getenv().getOrDefault(`NEVER`, `x`));
  public Object handle(Object event) { return event; }
}
";

/// The right to run the client: one test at a time has it, as each process of it unpacks its native code to one name in `/tmp` and
/// crashes on what another one has half unpacked. `None` where the machine lacks what this needs.
pub(crate) fn alone() -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    let can = ["java", "javac", "mvn", "sha256sum"].into_iter().all(has);
    can.then(|| ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The client's archives.
fn jars() -> PathBuf {
    tools::cached(&format!("java-lambda-client-{}-core-{}", JARS[0][2], JARS[1][2]), |folder| {
        let dependency = |[group, name, version, _]: [&str; 4]| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
            )
        };
        let project = format!(
            "<project xmlns='http://maven.apache.org/POM/4.0.0'><modelVersion>4.0.0</modelVersion>\
             <groupId>function</groupId><artifactId>function</artifactId><version>1</version>\
             <dependencies>{}</dependencies></project>",
            JARS.map(dependency).concat()
        );
        fs::write(folder.join("pom.xml"), project).unwrap();
        let copy = ["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=."];
        tools::run(Command::new("mvn").args(copy).current_dir(folder));
        let line = |[_, name, version, sum]: [&str; 4]| format!("{sum}  {name}-{version}.jar\n");
        fs::write(folder.join("sums"), JARS.map(line).concat()).unwrap();
        tools::run(Command::new("sha256sum").args(["--check", "--strict", "sums"]).current_dir(folder));
    })
}

/// The function's classes, compiled once for each wording.
fn classes() -> PathBuf {
    let jars = jars();
    tools::cached("java-function-3", |folder| {
        fs::write(folder.join("App.java"), APP).unwrap();
        fs::write(folder.join("Broken.java"), BROKEN.replace('`', "\"")).unwrap();
        let mut javac = Command::new("javac");
        javac.args(["-cp", &format!("{}/*", jars.display()), "App.java", "Broken.java"]);
        tools::run(javac.current_dir(folder));
    })
}

/// A shim with the Java client and this handler.
pub(crate) fn setup(handler: &str) -> Setup {
    let class_path = format!("{}/*:{}", jars().display(), classes().display());
    let bootstrap = format!(
        "#!/bin/sh\nexec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp '{class_path}' \
         com.amazonaws.services.lambda.runtime.api.client.AWSLambda \"$_HANDLER\"\n"
    );
    Setup::empty()
        .bootstrap(&bootstrap)
        .env("_HANDLER", handler)
        .env("AWS_LAMBDA_FUNCTION_NAME", "crow")
        .env("INVOKER_COUNT", "1")
        // A virtual machine takes its time where others compile.
        .env("TM_INIT_TIMEOUT", "25s")
}

fn start(handler: &str) -> Shim {
    setup(handler).start()
}

#[test]
fn events_results_and_context() {
    let Some(_one) = alone() else { return };
    let shim = start("App::handle");
    for event in [r#"{"a":[1,null]}"#, "7", "\"x\"", "[]"] {
        assert_eq!(shim.invoke(event).json(), serde_json::from_str::<Value>(event).unwrap());
    }
    assert_eq!(shim.invoke(r#"{"do":"text"}"#).json(), json!("é ☃"));
    assert_eq!(shim.invoke(r#"{"do":"nothing"}"#).text(), "null");
    let answer = shim.invoke(r#"{"do":"context"}"#);
    let context = answer.json();
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:crow";
    let expected = json!({
        "id": answer.id(), "name": "crow", "version": "$LATEST", "arn": arn, "memory": 128, "left": true
    });
    assert_eq!(context, expected);
    shim.invoke(r#"{"do":"log"}"#);
    let log = shim.wait_log("REPORT", 8);
    assert!(log.contains("one\ntwo\nEND"), "{log}");
}

#[test]
fn rt_20_client_contexts_are_understood() {
    use base64::Engine as _;
    let Some(_one) = alone() else { return };
    let shim = start("App::handle");
    let context = base64::engine::general_purpose::STANDARD.encode(r#"{"custom":{"a":"b"}}"#);
    let answer = crate::http::send(
        shim.port(),
        "/2015-03-31/functions/function/invocations",
        &format!("X-Amz-Client-Context: {context}\r\n"),
        br#"{"do":"context"}"#,
    );
    assert_eq!(answer.json()["client"], json!({"a": "b"}));
}

#[test]
fn rt_15_errors_and_exits() {
    let Some(_one) = alone() else { return };
    let shim = start("App::handle");
    for _ in 0..2 {
        let answer = shim.invoke(r#"{"do":"throw"}"#);
        assert_eq!((answer.status, answer.blamed()), (500, true));
        let error = answer.json();
        assert_eq!(error["errorType"], "java.lang.IllegalStateException");
        assert_eq!(error["errorMessage"], "no");
        assert!(error["stackTrace"][0].as_str().unwrap().contains("App.handle"), "{error}");
    }
    let exit = shim.invoke(r#"{"do":"exit"}"#);
    assert!(exit.text().contains("exit status 3"), "{}", exit.text());
    assert_eq!(shim.invoke("1").text(), "1");
}

#[test]
fn init_errors() {
    let Some(_one) = alone() else { return };
    for (handler, member, text) in [
        ("Nothing::handle", "errorType", "java.lang.ClassNotFoundException"),
        ("App::missing", "errorMessage", "No public method named missing"),
        ("Broken::handle", "errorType", "java.lang.ExceptionInInitializerError"),
    ] {
        let shim = start(handler);
        let answer = shim.invoke("1");
        assert_eq!((answer.status, answer.blamed()), (500, true), "{handler}: {}", answer.text());
        let error = answer.json();
        assert!(error[member].as_str().is_some_and(|found| found.starts_with(text)), "{handler}: {error}");
    }
}

#[test]
fn large_results() {
    let Some(_one) = alone() else { return };
    let shim = start("App::stream");
    let answer = shim.invoke("12345");
    assert_eq!((answer.status, answer.body.len()), (200, 5 << 20));
    let large = shim.invoke("1234567");
    assert_eq!(large.json()["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(shim.invoke("1").body.len(), 1 << 20);
}
