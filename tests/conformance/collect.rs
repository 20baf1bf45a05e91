//! Garbage collection by owner references.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
    runtime::{wait::conditions, watcher},
};
use serde_json::json;

use crate::subject::{config_map, on_each, soon, typed};

fn owned(name: &str, owner: &ConfigMap) -> ConfigMap {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name,
        "uid": owner.metadata.uid, "blockOwnerDeletion": true});
    typed(json!({"metadata": {"name": name, "ownerReferences": [owner]}}))
}

async fn gone(maps: &Api<ConfigMap>, object: &ConfigMap) {
    let (name, uid) = (object.metadata.name.clone().unwrap(), object.metadata.uid.clone().unwrap());
    let gone = kube::runtime::wait::await_condition(maps.clone(), &name, conditions::is_deleted(&uid));
    soon("the collection", gone).await.unwrap();
}

#[tokio::test]
async fn in_the_background_and_in_the_foreground() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        for params in [DeleteParams::background(), DeleteParams::foreground()] {
            let owner = maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
            let child = maps.create(&PostParams::default(), &owned("child", &owner)).await.unwrap();
            maps.delete("owner", &params).await.unwrap();
            gone(&maps, &child).await;
            gone(&maps, &owner).await;
        }
    })
    .await;
}

#[tokio::test]
async fn orphans_live_on() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let owner = maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
        maps.create(&PostParams::default(), &owned("child", &owner)).await.unwrap();
        maps.delete("owner", &DeleteParams::orphan()).await.unwrap();
        gone(&maps, &owner).await;
        let config = watcher::Config::default().fields("metadata.name=child");
        let mut events = watcher(maps.clone(), config).boxed();
        let free = async {
            loop {
                match events.next().await.unwrap().unwrap() {
                    watcher::Event::Apply(map) | watcher::Event::InitApply(map)
                        if map.metadata.owner_references.is_none() =>
                    {
                        return;
                    }
                    _ => {}
                }
            }
        };
        soon("the child's freedom", free).await;
    })
    .await;
}
