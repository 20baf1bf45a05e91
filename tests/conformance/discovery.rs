//! What is served, and honest answers about what is not.

use serde_json::{Value, json};

use crate::subject::{on_each, raw};

fn get(path: &str, accept: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).header("accept", accept).body(Vec::new()).unwrap()
}

#[tokio::test]
async fn the_kinds_tm_needs_are_there() {
    on_each(|subject| async move {
        for (path, names) in [
            (
                "/api/v1",
                vec!["pods", "pods/log", "pods/exec", "secrets", "configmaps", "serviceaccounts", "events"],
            ),
            ("/apis/serving.knative.dev/v1", vec!["services", "services/status", "routes", "revisions"]),
            ("/apis/tekton.dev/v1", vec!["tasks", "taskruns", "taskruns/status"]),
        ] {
            let (code, list) = subject.raw(get(path, "application/json")).await;
            assert_eq!((code, list["kind"].as_str()), (200, Some("APIResourceList")));
            let served: Vec<&str> =
                list["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
            for name in names {
                assert!(served.contains(&name), "{path} has no {name}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn aggregated_discovery_says_the_same() {
    on_each(|subject| async move {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let (code, list) = subject.raw(get("/apis", accept)).await;
        assert_eq!((code, list["kind"].as_str()), (200, Some("APIGroupDiscoveryList")));
        let groups = list["items"].as_array().unwrap();
        let serving = groups.iter().find(|g| g["metadata"]["name"] == "serving.knative.dev").unwrap();
        let resources = serving["versions"][0]["resources"].as_array().unwrap();
        let service = resources.iter().find(|r| r["resource"] == "services").unwrap();
        assert_eq!(service["responseKind"]["kind"], "Service");
        assert!(service["shortNames"].as_array().unwrap().contains(&json!("ksvc")));
    })
    .await;
}

#[tokio::test]
async fn a_table_has_the_columns_people_know() {
    on_each(|subject| async move {
        let path = format!("/apis/serving.knative.dev/v1/namespaces/{}/services", subject.namespace);
        let (code, table) = subject.raw(get(&path, "application/json;as=Table;v=v1;g=meta.k8s.io")).await;
        assert_eq!((code, table["kind"].as_str()), (200, Some("Table")));
        let names: Vec<&str> = table["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|c| c["name"].as_str())
            .collect();
        assert_eq!(names, ["Name", "URL", "LatestCreated", "LatestReady", "Ready", "Reason"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_served_is_said_so() {
    on_each(|subject| async move {
        let base = format!("/api/v1/namespaces/{}/configmaps", subject.namespace);
        let request = |method: &str, path: &str, kind: &str, body: &str| {
            http::Request::builder()
                .method(method)
                .uri(path)
                .header("content-type", kind)
                .body(body.as_bytes().to_vec())
                .unwrap()
        };
        let cases = [
            (get("/apis/nothing.example.com/v1/things", "application/json"), 404, None),
            (request("PUT", &base, "application/json", "{}"), 405, Some("MethodNotAllowed")),
            (request("POST", &base, "text/plain", "hello"), 415, Some("UnsupportedMediaType")),
            (request("POST", &base, "application/json", "{"), 400, Some("BadRequest")),
            (
                request("POST", &base, "application/json", "{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}"),
                400,
                Some("BadRequest"),
            ),
            (get(&base, "text/html"), 406, Some("NotAcceptable")),
            (
                request("PATCH", &format!("{base}/a"), "application/json", "{}"),
                415,
                Some("UnsupportedMediaType"),
            ),
        ];
        for (request, code, reason) in cases {
            let what = format!("{} {}", request.method(), request.uri());
            let (answered, status) = subject.raw(request).await;
            assert_eq!(answered, code, "{what}: {status}");
            if answered == 404 {
                assert_eq!(status, "404 page not found\n", "{what}");
            }
            if let Some(reason) = reason {
                assert_eq!(status["reason"], reason, "{what}");
                assert_eq!(status["kind"], "Status");
            }
        }
        let huge = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 << 20));
        let (code, _) = subject.raw(request("POST", &base, "application/json", &huge)).await;
        assert_eq!(code, 413);
    })
    .await;
}

#[tokio::test]
async fn everybody_here_may_do_everything() {
    let server = crate::subject::engine().await;
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}});
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    let (code, review): (u16, Value) = raw(&server.api.client("default"), request).await;
    assert_eq!((code, review["status"]["allowed"].as_bool()), (201, Some(true)));
}
