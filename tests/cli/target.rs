//! An API server that knows nothing but what a test puts into it, and a machine whose kubeconfig names it.

use serde_json::json;
use tm_testkit::machine::Machine;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, method, path},
};

/// Namespace of the kubeconfig's context.
pub(crate) const NAMESPACE: &str = "blue";
/// Where its services are.
pub(crate) const SERVICES: &str = "/apis/serving.knative.dev/v1/namespaces/blue/services";

/// The server and the machine. Everything but the list of services is answered 404.
pub(crate) async fn target() -> (MockServer, Machine) {
    let server = MockServer::start().await;
    let list =
        json!({"apiVersion": "serving.knative.dev/v1", "kind": "ServiceList", "metadata": {}, "items": []});
    let listed = ResponseTemplate::new(200).set_body_json(list);
    Mock::given(method("GET")).and(path(SERVICES)).respond_with(listed).mount(&server).await;
    Mock::given(any()).respond_with(status(404, "NotFound")).with_priority(200).mount(&server).await;
    let machine = Machine::new(env!("CARGO_BIN_EXE_tm"));
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server.uri()}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        "users": [{"name": "u", "user": {}}],
    });
    fs_err::write(machine.path().join("home/kubeconfig"), kubeconfig.to_string()).expect("it writes");
    (server, machine)
}

/// What Kubernetes answers when it refuses.
pub(crate) fn status(code: u16, reason: &str) -> ResponseTemplate {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": format!("refused: {reason}"), "reason": reason, "code": code,
    });
    ResponseTemplate::new(code).set_body_json(body)
}

/// Methods and paths of what was asked, in order.
pub(crate) async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.expect("requests are recorded");
    requests.iter().map(|request| format!("{} {}", request.method, request.url.path())).collect()
}
