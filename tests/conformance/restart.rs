//! What was acknowledged is there after a restart.

use kube::api::{Api, Patch, PatchParams, PostParams, WatchParams};
use serde_json::json;

use crate::subject::{config_map, engine, refusal};

#[tokio::test]
async fn objects_versions_token_and_identity_survive() {
    let server = engine().await;
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::default_namespaced(server.api.client("default"));
    let made = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let (token, authority) = (server.token.reveal().to_owned(), server.authority.clone());
    let server = server.restart().await.unwrap();
    assert_eq!((server.token.reveal(), &server.authority), (token.as_str(), &authority));
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::default_namespaced(server.api.client("default"));
    assert_eq!(maps.get("a").await.unwrap(), made);
    let patch = Patch::Merge(json!({"data": {"b": "2"}}));
    let patched = maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    let number = |map: &k8s_openapi::api::core::v1::ConfigMap| -> u64 {
        map.metadata.resource_version.as_ref().unwrap().parse().unwrap()
    };
    assert!(number(&patched) > number(&made));
    // What happened before the restart can be listed, not watched.
    let expired = refusal(maps.watch(&WatchParams::default(), "1").await.map(|_| ()));
    assert_eq!((expired.code, expired.reason.as_str()), (410, "Expired"));
}
