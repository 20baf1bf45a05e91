//! Creating, reading and replacing.

use kube::api::{DynamicObject, PostParams};
use serde_json::json;

use crate::subject::{config_map, on_each, refusal, service, typed};

#[tokio::test]
async fn what_the_server_fills_in() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let made = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
        assert_eq!(made.metadata.namespace.as_deref(), Some(subject.namespace.as_str()));
        assert_eq!(maps.get("a").await.unwrap(), made);
        let generated = typed(json!({"metadata": {"generateName": "pre-"}}));
        let name = maps.create(&PostParams::default(), &generated).await.unwrap().metadata.name.unwrap();
        assert!(name.starts_with("pre-") && name.len() == 9, "{name}");
    })
    .await;
}

#[tokio::test]
async fn refusals_name_what_they_are_about() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let gone = refusal(maps.get("a").await);
        assert_eq!((gone.code, gone.reason.as_str()), (404, "NotFound"));
        assert_eq!(gone.message, "configmaps \"a\" not found");
        let details = gone.details.unwrap();
        assert_eq!((details.name.as_str(), details.kind.as_str()), ("a", "configmaps"));

        maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let there = refusal(maps.create(&PostParams::default(), &config_map("a")).await);
        assert_eq!((there.code, there.reason.as_str()), (409, "AlreadyExists"));
        assert_eq!(there.message, "configmaps \"a\" already exists");

        let bad = refusal(maps.create(&PostParams::default(), &config_map("A_b")).await);
        assert_eq!((bad.code, bad.reason.as_str()), (422, "Invalid"));
        assert!(bad.message.starts_with(
            "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must \
             consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
             character"
        ));
        let nameless = refusal(maps.create(&PostParams::default(), &typed(json!({"metadata": {}}))).await);
        assert_eq!(nameless.code, 422);
        assert!(nameless.message.contains("metadata.name: Required value: name or generateName is required"));

        let elsewhere: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
            kube::Api::namespaced(subject.client.clone(), "tm-no-such-namespace");
        let nowhere = refusal(elsewhere.create(&PostParams::default(), &config_map("a")).await);
        assert_eq!((nowhere.code, nowhere.message.as_str()), (404, "namespaces \"tm-no-such-namespace\" not found"));
    })
    .await;
}

#[tokio::test]
async fn a_stale_replacement_is_a_conflict() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let mut first = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        first.data.as_mut().unwrap().insert("b".into(), "2".into());
        let second = maps.replace("a", &PostParams::default(), &first).await.unwrap();
        assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
        let stale = refusal(maps.replace("a", &PostParams::default(), &first).await);
        assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
        assert_eq!(
            stale.message,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
             changes to the latest version and try again"
        );
        let mut blind = config_map("a");
        blind.data = None;
        let replaced = maps.replace("a", &PostParams::default(), &blind).await.unwrap();
        assert_eq!(replaced.metadata.uid, second.metadata.uid, "a core kind is replaced without a version");
    })
    .await;
}

#[tokio::test]
async fn writing_the_same_is_no_write() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let made = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let again = maps.replace("a", &PostParams::default(), &made).await.unwrap();
        assert_eq!(again.metadata.resource_version, made.metadata.resource_version);
    })
    .await;
}

#[tokio::test]
async fn the_generation_counts_changes_of_the_specification() {
    on_each(|subject| async move {
        let services = subject.services();
        let post = PostParams { dry_run: true, ..PostParams::default() };
        let new: DynamicObject = typed(service("s", &["A"]));
        let dry = services.create(&post, &new).await.unwrap();
        assert_eq!(dry.metadata.generation, Some(1));
        assert!(services.get_opt("s").await.unwrap().is_none(), "a dry run leaves nothing");
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let would = maps.create(&dry, &config_map("a")).await.unwrap();
        assert!(would.metadata.uid.is_some());
        assert!(maps.get_opt("a").await.unwrap().is_none());
        maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        assert_eq!(refusal(maps.create(&dry, &config_map("a")).await).reason, "AlreadyExists");
    })
    .await;
}

#[tokio::test]
async fn the_status_is_written_apart() {
    let server = crate::subject::engine().await;
    let subject = crate::subject::Subject {
        client: server.api.client("default"),
        namespace: "default".into(),
        is_cluster: false,
    };
    let services = subject.services();
    let mut new: DynamicObject = typed(service("s", &["A"]));
    new.data["status"] = json!({"url": "http://no"});
    let mut made = services.create(&PostParams::default(), &new).await.unwrap();
    assert!(made.data.get("status").is_none(), "a new object has no status");
    made.data["status"] = json!({"url": "http://s", "observedGeneration": 1});
    made.data["spec"]["template"]["spec"]["timeoutSeconds"] = 7.into();
    let status = services.replace_status("s", &PostParams::default(), &made).await.unwrap();
    assert_eq!(status.data["status"]["url"], "http://s");
    assert_eq!(status.data["spec"]["template"]["spec"]["timeoutSeconds"], 300, "the specification stays");
    assert_eq!(status.metadata.generation, Some(1));
    made.metadata.resource_version = status.metadata.resource_version;
    made.data["status"] = json!({"url": "http://other"});
    let main = services.replace("s", &PostParams::default(), &made).await.unwrap();
    assert_eq!(main.data["status"]["url"], "http://s", "the status stays");
    assert_eq!(main.metadata.generation, Some(2));
}
