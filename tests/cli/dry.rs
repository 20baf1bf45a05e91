//! `tm deploy service --dry`: what would be sent, in the form that `-o` asks for, and nothing else on stdout.

use serde_json::Value;
use tm_testkit::machine::Machine;

use crate::target::{asked, target};

/// What a dry deploy of a source prints.
async fn dry(machine: &Machine, more: &[&str]) -> String {
    let from = machine.path().join("main.py").display().to_string();
    fs_err::write(&from, "def handler(e, c): return e\n").expect("it writes");
    let fixed = ["deploy", "service", "a", "--dry", "-f", &from];
    machine.tm_ok(fixed.iter().chain(more)).await.expect("it is shown")
}

/// Kinds of what is in a JSON text.
fn kinds(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
    let kind = |value: &Value| value["kind"].as_str().unwrap_or_default().to_owned();
    match value["items"].as_array() {
        Some(items) => [kind(&value)].into_iter().chain(items.iter().map(kind)).collect(),
        None => vec![kind(&value)],
    }
}

#[tokio::test]
async fn json_is_one_value() {
    let (server, machine) = target().await;
    assert_eq!(kinds(&dry(&machine, &["-o", "json"]).await), ["List", "TaskRun", "Service"]);
    assert_eq!(kinds(&dry(&machine, &["-o", "json", "--build-only"]).await), ["TaskRun"]);
    let image =
        machine.tm_ok(["deploy", "service", "a", "-f", "h.example.com/a:1", "--dry", "-o", "json"]).await;
    assert_eq!(kinds(&image.expect("it is shown")), ["Service"]);
    let sent = asked(&server).await;
    assert!(sent.iter().all(|request| request.starts_with("GET ")), "{sent:?}");
}

#[tokio::test]
async fn yaml_is_a_stream_of_documents() {
    let (_server, machine) = target().await;
    let both = dry(&machine, &[]).await;
    let documents: Vec<_> = both.split("\n---\n").collect();
    assert_eq!(documents.len(), 2, "{both}");
    assert!(
        documents[0].contains("\nkind: TaskRun\n") && documents[1].contains("\nkind: Service\n"),
        "{both}"
    );
    let one = dry(&machine, &["--build-only"]).await;
    assert!(one.contains("\nkind: TaskRun\n") && !one.contains("---"), "{one}");
}

#[tokio::test]
async fn names_are_lines() {
    let (_server, machine) = target().await;
    let both = dry(&machine, &["-o", "name"]).await;
    assert_eq!(
        both, "taskrun.tekton.dev/a-\nservice.serving.knative.dev/a\n",
        "a name that is made begins so"
    );
}
