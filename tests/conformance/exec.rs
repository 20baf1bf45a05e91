//! `pods/exec` of the engine over WebSocket, as kube-rs speaks it.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    logs::running_pod,
    subject::{engine, soon},
};

async fn read(mut from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).await.unwrap();
    text
}

/// The exit code a status tells; 0 for success.
async fn exit_code(process: &mut AttachedProcess) -> i32 {
    let status = soon("the command's end", process.take_status().unwrap()).await.expect("a status arrives");
    if status.status.as_deref() == Some("Success") {
        return 0;
    }
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.unwrap().causes.unwrap();
    let cause = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode")).unwrap();
    cause.message.as_deref().unwrap().parse().unwrap()
}

#[tokio::test]
async fn streams_and_exit_codes() {
    let server = engine().await;
    let pods: Api<Pod> = Api::default_namespaced(server.tls_client().await.unwrap());
    running_pod(&pods, "p", &["c"]).await;
    let params = AttachParams::default().stderr(true);
    let script = ["sh", "-c", "echo out; echo err >&2; exit 3"];
    let mut process = pods.exec("p", script, &params).await.unwrap();
    let (out, err) = (process.stdout().unwrap(), process.stderr().unwrap());
    let (out, err, code) = tokio::join!(read(out), read(err), exit_code(&mut process));
    assert_eq!((out.as_str(), err.as_str(), code), ("out\n", "err\n", 3));
    let mut good = pods.exec("p", ["true"], &params).await.unwrap();
    assert_eq!(exit_code(&mut good).await, 0);
    let mut missing = pods.exec("p", ["no-such-command"], &params).await.unwrap();
    assert_eq!(exit_code(&mut missing).await, 127);
}

#[tokio::test]
async fn closing_the_input_is_its_end() {
    let server = engine().await;
    let pods: Api<Pod> = Api::default_namespaced(server.tls_client().await.unwrap());
    running_pod(&pods, "p", &["c"]).await;
    let params = AttachParams::default().stdin(true).stderr(false).max_stdin_buf_size(1 << 20);
    let mut process = pods.exec("p", ["wc", "-c"], &params).await.unwrap();
    let mut input = process.stdin().unwrap();
    let out = process.stdout().unwrap();
    let write = async {
        let chunk = vec![7; 100_000];
        for _ in 0..80 {
            input.write_all(&chunk).await.unwrap();
        }
        input.shutdown().await.unwrap();
    };
    let all = async { tokio::join!(write, read(out), exit_code(&mut process)) };
    let ((), out, code) = soon("the upload", all).await;
    assert_eq!((out.trim(), code), ("8000000", 0));
}

#[tokio::test]
async fn a_command_that_does_not_read_still_ends() {
    let server = engine().await;
    let pods: Api<Pod> = Api::default_namespaced(server.tls_client().await.unwrap());
    running_pod(&pods, "p", &["c"]).await;
    let params = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process = pods.exec("p", ["sh", "-c", "exit 5"], &params).await.unwrap();
    assert_eq!(exit_code(&mut process).await, 5);
}

#[tokio::test]
async fn a_pod_that_does_not_run_is_refused() {
    let server = engine().await;
    let pods: Api<Pod> = Api::default_namespaced(server.tls_client().await.unwrap());
    let pod = crate::subject::typed(serde_json::json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}));
    pods.create(&kube::api::PostParams::default(), &pod).await.unwrap();
    let error = pods.exec("p", ["true"], &AttachParams::default()).await.err().unwrap();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!((status.code, status.message.as_str()), (400, "container not found (\"c\")"));
    let error = pods.exec("nobody", ["true"], &AttachParams::default()).await.err().unwrap();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!(status.code, 404);
}

#[tokio::test]
async fn spdy_is_refused_with_a_way_out() {
    let server = engine().await;
    let client = server.tls_client().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    running_pod(&pods, "p", &["c"]).await;
    let request = http::Request::post("/api/v1/namespaces/default/pods/p/exec?command=true&stdout=true")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Vec::new())
        .unwrap();
    let (code, status) = crate::subject::raw(&client, request).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().contains("kubectl 1.31"), "{status}");
}
