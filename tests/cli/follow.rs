//! Waiting for a service with credentials that are no longer good.

use serde_json::json;
use wiremock::{
    Mock, ResponseTemplate,
    matchers::{method, path},
};

use crate::target::{SERVICES, status, target};

#[tokio::test]
async fn credentials_that_expire_while_a_service_is_waited_for() {
    let (server, machine) = target().await;
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a", "generation": 1},
        "spec": {"template": {"spec": {"containers": []}}}});
    let applied = ResponseTemplate::new(200).set_body_json(service);
    Mock::given(method("PATCH"))
        .and(path(format!("{SERVICES}/a")))
        .respond_with(applied)
        .mount(&server)
        .await;
    let expired = Mock::given(method("GET")).and(path(SERVICES)).respond_with(status(401, "Unauthorized"));
    expired.with_priority(1).mount(&server).await;
    let ran = machine.tm(["deploy", "service", "a", "-f", "r.example.com/a:1", "--wait"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    for words in [
        "the service `a` was deployed, and cannot be followed: refused: Unauthorized",
        "hint: the credentials are wrong or expired",
    ] {
        assert!(ran.stderr.contains(words), "no `{words}` in: {}", ran.stderr);
    }
}
