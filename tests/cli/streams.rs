//! Data on stdout when its reader has gone (`| head -1`), and what `tm logs` asks for.

use std::process::Stdio;

use serde_json::json;
use tm_testkit::machine::Machine;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use crate::target::{SERVICES, target};

const PODS: &str = "/api/v1/namespaces/blue/pods";

/// Runs `tm` with a stdout that nobody reads; its exit code and stderr.
async fn unread(machine: &Machine, line: &str) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = machine.command(env!("CARGO_BIN_EXE_tm"));
    command.args(line.split(' ')).stdout(writer).stderr(Stdio::piped());
    let output = command.spawn().expect("tm starts").wait_with_output().await.expect("tm ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A service `hello` with one instance and a log.
async fn service(server: &MockServer) {
    let answers = [
        (
            format!("{SERVICES}/hello"),
            json!({
                "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "hello"},
                "spec": {"template": {"spec": {"containers": [{"name": "user-container", "image": "a"}]}}},
            }),
        ),
        (
            PODS.into(),
            json!({
                "apiVersion": "v1", "kind": "PodList", "metadata": {},
                "items": [{"metadata": {"name": "hello-1"}}],
            }),
        ),
    ];
    for (url, body) in answers {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET")).and(path(url)).respond_with(answer).mount(server).await;
    }
    let log = ResponseTemplate::new(200).set_body_string("one\ntwo\n");
    Mock::given(method("GET")).and(path(format!("{PODS}/hello-1/log"))).respond_with(log).mount(server).await;
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_error() {
    let (server, machine) = target().await;
    service(&server).await;
    for line in ["logs hello", "completion bash", "get service hello", "--help"] {
        assert_eq!(unread(&machine, line).await, (Some(0), String::new()), "{line}");
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_one() {
    let (server, machine) = target().await;
    service(&server).await;
    for line in ["logs hello", "completion bash"] {
        let full = fs_err::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let mut command = machine.command(env!("CARGO_BIN_EXE_tm"));
        command.args(line.split(' ')).stdout(Stdio::from(full.into_parts().0)).stderr(Stdio::piped());
        let output = command.spawn().expect("tm starts").wait_with_output().await.expect("tm ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("No space left"), "{line}: {said}");
    }
}

#[tokio::test]
async fn only_what_an_api_server_takes_is_asked() {
    let cases = [
        ("logs hello", vec![]),
        ("logs hello --tail=-1 --since 500ms", vec![("sinceSeconds", "1")]),
        ("logs hello --tail -1", vec![]),
        ("logs hello --tail 3 --since 1500ms", vec![("sinceSeconds", "2"), ("tailLines", "3")]),
    ];
    for (line, wanted) in cases {
        let (server, machine) = target().await;
        service(&server).await;
        let ran = machine.tm(line.split(' ')).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "one\ntwo\n"), "{line}: {ran:?}");
        let requests = server.received_requests().await.expect("requests are recorded");
        let asked = requests.iter().find(|request| request.url.path().ends_with("/log")).expect("the log");
        let query: Vec<_> = asked.url.query_pairs().filter(|(key, _)| key != "container").collect();
        let query: Vec<_> = query.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        assert_eq!(query, wanted, "{line}");
    }
}
