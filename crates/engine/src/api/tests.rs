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
