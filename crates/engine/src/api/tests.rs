use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api as Objects, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::*;

async fn open() -> (tempfile::TempDir, Api) {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::open(Options { state_dir: dir.path().to_owned() }).await.unwrap();
    (dir, api)
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).unwrap()
}

#[tokio::test]
async fn the_in_process_client_does_it_all() {
    let (_dir, api) = open().await;
    let maps: Objects<ConfigMap> = Objects::default_namespaced(api.client("default"));
    let made = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    assert!(made.metadata.uid.is_some());
    let patch = json!({"data": {"b": "2"}});
    let patched = maps.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(patched.data.unwrap().len(), 2);
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 1);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
    let pods: Objects<Pod> = Objects::default_namespaced(api.client("nowhere"));
    let pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
    let error = pods.create(&PostParams::default(), &pod).await.unwrap_err();
    assert!(error.to_string().contains("namespaces \"nowhere\" not found"), "{error}");
}

fn knative_services(api: &Api) -> Objects<kube::api::DynamicObject> {
    let resource = kube::api::ApiResource {
        group: "serving.knative.dev".into(),
        version: "v1".into(),
        api_version: "serving.knative.dev/v1".into(),
        kind: "Service".into(),
        plural: "services".into(),
    };
    Objects::default_namespaced_with(api.client("default"), &resource)
}

#[tokio::test]
async fn applying_the_same_twice_changes_nothing() {
    let (_dir, api) = open().await;
    let services = knative_services(&api);
    let service = |env: &[&str]| {
        let env: Vec<_> = env.iter().map(|name| json!({"name": name, "value": "v"})).collect();
        json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"template": {"spec": {"containers": [{"image": "i", "env": env}]}}}})
    };
    let params = PatchParams::apply("tm").force();
    let first = services.patch("s", &params, &Patch::Apply(service(&["A", "B"]))).await.unwrap();
    let again = services.patch("s", &params, &Patch::Apply(service(&["A", "B"]))).await.unwrap();
    assert_eq!(first.metadata, again.metadata);
    assert_eq!(first.metadata.generation, Some(1));
    let less = services.patch("s", &params, &Patch::Apply(service(&["B"]))).await.unwrap();
    assert_eq!(less.metadata.generation, Some(2));
    assert_eq!(less.data["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_field_is_refused_when_strict() {
    let (_dir, api) = open().await;
    let services = knative_services(&api);
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"runLatest": {}, "template": {"spec": {"containers": [{"image": "i"}]}}}});
    let mut params = PatchParams::apply("tm");
    params.field_validation = Some(kube::api::ValidationDirective::Strict);
    let error = services.patch("s", &params, &Patch::Apply(&service)).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "strict decoding error: unknown field \"spec.runLatest\"")
    );
    params.field_validation = None;
    let made = services.patch("s", &params, &Patch::Apply(&service)).await.unwrap();
    assert!(made.data["spec"].get("runLatest").is_none());
}
