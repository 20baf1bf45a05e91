//! `pods/log` of the engine, through a node that says what the test wants.

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{LogParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::subject::{engine, refusal, soon, typed};

/// Makes a pod with these containers; they run.
pub(crate) async fn running_pod(pods: &Api<Pod>, name: &str, containers: &[&str]) {
    let specs: Vec<_> = containers.iter().map(|name| json!({"name": name, "image": "i"})).collect();
    let pod = typed(json!({"metadata": {"name": name}, "spec": {"containers": specs}}));
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let statuses: Vec<_> = containers
        .iter()
        .map(|name| {
            json!({"name": name, "ready": true, "restartCount": 0, "image": "i", "imageID": "",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
        })
        .collect();
    let status = Patch::Merge(json!({"status": {"phase": "Running", "containerStatuses": statuses}}));
    pods.patch_status(name, &PatchParams::default(), &status).await.unwrap();
}

#[tokio::test]
async fn a_log_is_read_and_followed() {
    let server = engine().await;
    let pods: Api<Pod> = Api::default_namespaced(server.api.client("default"));
    running_pod(&pods, "p", &["c"]).await;
    for line in ["one", "two", "three"] {
        server.node.say("c", line);
    }
    assert_eq!(pods.logs("p", &LogParams::default()).await.unwrap(), "one\ntwo\nthree\n");
    let tail = LogParams { tail_lines: Some(1), ..LogParams::default() };
    assert_eq!(pods.logs("p", &tail).await.unwrap(), "three\n");
    let follow = LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() };
    let mut lines = pods.log_stream("p", &follow).await.unwrap().lines();
    assert_eq!(soon("a line", lines.try_next()).await.unwrap().unwrap(), "three");
    server.node.say("c", "four");
    assert_eq!(soon("a line", lines.try_next()).await.unwrap().unwrap(), "four");
    server.node.end("c");
    assert!(soon("the end", lines.try_next()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_logs_are_refused() {
    let server = engine().await;
    let pods: Api<Pod> = Api::default_namespaced(server.api.client("default"));
    running_pod(&pods, "p", &["a", "b"]).await;
    let of = |container: &str| LogParams { container: Some(container.into()), ..LogParams::default() };
    let many = refusal(pods.logs("p", &LogParams::default()).await);
    assert_eq!(
        (many.code, many.message.as_str()),
        (400, "a container name must be specified for pod p, choose one of: [a b]")
    );
    let unknown = refusal(pods.logs("p", &of("x")).await);
    assert_eq!((unknown.code, unknown.message.as_str()), (400, "container x is not valid for pod p"));
    let previous = refusal(pods.logs("p", &LogParams { previous: true, ..of("a") }).await);
    assert_eq!(previous.message, "previous terminated container \"a\" in pod \"p\" not found");
    let nobody = refusal(pods.logs("nobody", &LogParams::default()).await);
    assert_eq!((nobody.code, nobody.message.as_str()), (404, "pods \"nobody\" not found"));
    let waiting = Patch::Merge(json!({"status": {"containerStatuses": [{"name": "a", "ready": false,
        "restartCount": 0, "image": "i", "imageID": "", "state": {"waiting": {"reason": "ContainerCreating"}}}]}}));
    pods.patch_status("p", &PatchParams::default(), &waiting).await.unwrap();
    let waits = refusal(pods.logs("p", &of("a")).await);
    assert_eq!(
        (waits.code, waits.message.as_str()),
        (400, "container \"a\" in pod \"p\" is waiting to start: ContainerCreating")
    );
}
