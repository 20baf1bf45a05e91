//! Deleting: preconditions, finalizers, grace, collections.

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::subject::{config_map, engine, on_each, refusal, typed};

#[tokio::test]
async fn a_finalizer_holds_an_object() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let mut map = config_map("a");
        map.metadata.finalizers = Some(vec!["example.com/hold".into()]);
        maps.create(&PostParams::default(), &map).await.unwrap();
        maps.delete("a", &DeleteParams::default()).await.unwrap();
        let held = maps.get("a").await.unwrap();
        assert!(held.metadata.deletion_timestamp.is_some());
        let another =
            Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}));
        let refused = refusal(maps.patch("a", &PatchParams::default(), &another).await);
        assert_eq!(refused.code, 422);
        assert!(refused.message.contains("no new finalizers can be added if the object is being deleted"));
        let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        maps.patch("a", &PatchParams::default(), &release).await.unwrap();
        assert!(maps.get_opt("a").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn preconditions_are_kept() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let made = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let with = |uid: &str| DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.into()), resource_version: None }),
            ..DeleteParams::default()
        };
        let refused = refusal(maps.delete("a", &with("another")).await);
        assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
        assert!(
            refused
                .message
                .contains("the UID in the precondition (another) does not match the UID in record"),
            "{}",
            refused.message
        );
        maps.delete("a", &with(made.metadata.uid.as_deref().unwrap())).await.unwrap();
        assert_eq!(refusal(maps.delete("a", &DeleteParams::default()).await).code, 404);
    })
    .await;
}

#[tokio::test]
async fn a_collection_goes_by_selector() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
            let map = typed(json!({"metadata": {"name": name, "labels": {"l": label}}}));
            maps.create(&PostParams::default(), &map).await.unwrap();
        }
        maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("l=x")).await.unwrap();
        let left = maps.list(&ListParams::default().labels("l")).await.unwrap().items;
        assert_eq!(left.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_pod_goes_when_its_node_says_so() {
    let server = engine().await;
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::default_namespaced(server.api.client("default"));
    let pod =
        typed(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}));
    let made = pods.create(&PostParams::default(), &pod).await.unwrap();
    assert_eq!(made.spec.unwrap().node_name.as_deref(), Some("tm-local"));
    pods.delete("p", &DeleteParams::default().grace_period(7)).await.unwrap();
    let going = pods.get("p").await.unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(7));
    assert!(going.metadata.deletion_timestamp.is_some());
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    assert_eq!(pods.get("p").await.unwrap().metadata, going.metadata, "asking again changes nothing");
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}
