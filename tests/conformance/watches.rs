//! Watches: no gap after a list, transitions of selectors, bookmarks, and windows that are over.

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::watcher,
};
use serde_json::json;
use tm_testkit::tools;

use crate::subject::{Subject, config_map, on_each, soon};

type Events = BoxStream<'static, kube::Result<WatchEvent<ConfigMap>>>;

async fn watch(maps: &Api<ConfigMap>, params: &WatchParams, version: &str) -> Events {
    maps.watch(params, version).await.unwrap().boxed()
}

/// The kind of the next event and the name it is about.
async fn next(events: &mut Events) -> (&'static str, String) {
    let event = soon("the next event", events.next()).await.expect("the watch goes on").unwrap();
    let name = |map: ConfigMap| map.metadata.name.unwrap();
    match event {
        WatchEvent::Added(map) => ("added", name(map)),
        WatchEvent::Modified(map) => ("modified", name(map)),
        WatchEvent::Deleted(map) => ("deleted", name(map)),
        WatchEvent::Bookmark(_) => ("bookmark", String::new()),
        WatchEvent::Error(status) => ("error", status.reason),
    }
}

fn of(kind: &'static str, name: &str) -> (&'static str, String) {
    (kind, name.to_owned())
}

async fn version(subject: &Subject) -> String {
    subject.config_maps().list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap()
}

#[tokio::test]
async fn a_watch_goes_on_where_the_list_ended() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let only = WatchParams::default().labels("!kubernetes.io/never");
        maps.create(&PostParams::default(), &config_map("before")).await.unwrap();
        let from = version(&subject).await;
        maps.create(&PostParams::default(), &config_map("between")).await.unwrap();
        let mut events = watch(&maps, &only.fields("metadata.name!=kube-root-ca.crt"), &from).await;
        assert_eq!(next(&mut events).await, of("added", "between"));
        let patch = Patch::Merge(json!({"data": {"b": "2"}}));
        maps.patch("before", &PatchParams::default(), &patch).await.unwrap();
        maps.delete("before", &DeleteParams::default()).await.unwrap();
        assert_eq!(next(&mut events).await, of("modified", "before"));
        assert_eq!(next(&mut events).await, of("deleted", "before"));
    })
    .await;
}

#[tokio::test]
async fn an_object_comes_into_a_selection_and_leaves_it() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let from = version(&subject).await;
        let mut events = watch(&maps, &WatchParams::default().labels("on=yes"), &from).await;
        let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
        for value in ["yes", "no", "yes"] {
            maps.patch("a", &PatchParams::default(), &label(value)).await.unwrap();
        }
        maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"b": "1"}}))).await.unwrap();
        for kind in ["added", "deleted", "added", "modified"] {
            assert_eq!(next(&mut events).await, of(kind, "a"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_begins_too_early_is_told_to_list() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        // More than the engine's window holds. A cluster that has just begun may still know all of its past: then it must tell
        // all of it.
        let big = "x".repeat(900_000);
        for n in 0..6 {
            let mut map = config_map(&format!("m{n}"));
            map.data.get_or_insert_default().insert("big".into(), big.clone());
            maps.create(&PostParams::default(), &map).await.unwrap();
        }
        match maps.watch(&WatchParams::default(), "1").await {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, 410),
            Ok(events) => {
                let mut events = events.boxed();
                let mut event = next(&mut events).await;
                if !subject.is_cluster || event.0 != "added" {
                    return assert_eq!(event, of("error", "Expired"));
                }
                for n in 0..6 {
                    while event != of("added", &format!("m{n}")) {
                        assert_eq!(event.0, "added", "{event:?} before m{n}");
                        event = next(&mut events).await;
                    }
                }
            }
            Err(other) => panic!("{other}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_watch_ends_when_it_was_asked_to() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let from = version(&subject).await;
        let params = WatchParams::default().timeout(1).fields("metadata.name=nobody");
        let events = watch(&maps, &params, &from).await;
        let seen: Vec<_> = soon("the end of the watch", events.try_collect()).await.unwrap();
        assert!(seen.iter().all(|event| matches!(event, WatchEvent::Bookmark(_))), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn the_first_list_can_come_as_a_watch() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let config = watcher::Config::default().streaming_lists().fields("metadata.name=a");
        let mut events = watcher(maps, config).boxed();
        let mut kinds = Vec::new();
        while kinds.last() != Some(&"done") {
            let event = match soon("the next event", events.next()).await.unwrap() {
                // What a server over etcd 3.4 says, such as Debian's in tests/cluster.
                Err(watcher::Error::WatchError(status))
                    if status.message.contains("RequestWatchProgress") =>
                {
                    tools::say("this cluster's etcd is too old for streaming lists, which were judged on the engine only");
                    return;
                }
                event => event.unwrap(),
            };
            kinds.push(match event {
                watcher::Event::Init => "init",
                watcher::Event::InitApply(_) => "a",
                watcher::Event::InitDone => "done",
                watcher::Event::Apply(_) | watcher::Event::Delete(_) => "other",
            });
        }
        assert_eq!(kinds, ["init", "a", "done"]);
    })
    .await;
}
