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
async fn an_unknown_field_cannot_be_applied() {
    let (_dir, api) = open().await;
    let services = knative_services(&api);
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"runLatest": {}, "template": {"spec": {"containers": [{"image": "i"}]}}}});
    let error = services.patch("s", &PatchParams::apply("tm"), &Patch::Apply(&service)).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    let said = "failed to create typed patch object (default/s; serving.knative.dev/v1, Kind=Service): .spec.runLatest: field \
                not declared in schema";
    assert_eq!((status.code, status.message.as_str()), (500, said));
    let service: kube::api::DynamicObject = serde_json::from_value(service).unwrap();
    let made = services.create(&PostParams::default(), &service).await.unwrap();
    assert!(made.data["spec"].get("runLatest").is_none());
}

/// Waits until `check` says yes; the store tells when to look again.
async fn eventually(api: &Api, what: &str, mut check: impl FnMut(&Store) -> bool) {
    let deadline = tokio::time::sleep(std::time::Duration::from_secs(10));
    tokio::pin!(deadline);
    let mut watcher = api.store().watch(None, None, api.store().revision()).unwrap();
    while !check(api.store()) {
        tokio::select! {
            event = watcher.next() => drop(event.unwrap()),
            () = &mut deadline => panic!("{what} did not happen"),
        }
    }
}

fn owned(name: &str, owner: &ConfigMap, block: bool) -> ConfigMap {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name,
        "uid": owner.metadata.uid, "blockOwnerDeletion": block});
    serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [owner]}})).unwrap()
}

fn is_there(store: &Store, name: &str) -> bool {
    store.get(&crate::store::Key::new("configmaps", "default", name)).is_some()
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let (_dir, api) = open().await;
    let maps: Objects<ConfigMap> = Objects::default_namespaced(api.client("default"));
    let post = PostParams::default();
    let owner = maps.create(&post, &config_map("owner")).await.unwrap();
    let child = maps.create(&post, &owned("child", &owner, false)).await.unwrap();
    maps.create(&post, &owned("grandchild", &child, false)).await.unwrap();
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    eventually(&api, "the collection of both", |s| !is_there(s, "child") && !is_there(s, "grandchild")).await;
}

#[tokio::test]
async fn a_reference_to_nobody_is_collected() {
    let (_dir, api) = open().await;
    let maps: Objects<ConfigMap> = Objects::default_namespaced(api.client("default"));
    let mut owner = maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    owner.metadata.uid = Some("another".into());
    maps.create(&PostParams::default(), &owned("child", &owner, false)).await.unwrap();
    eventually(&api, "the collection", |s| !is_there(s, "child")).await;
    assert!(is_there(api.store(), "owner"));
}

#[tokio::test]
async fn a_foreground_deletion_waits_and_an_orphaning_one_lets_live() {
    let (_dir, api) = open().await;
    let maps: Objects<ConfigMap> = Objects::default_namespaced(api.client("default"));
    let post = PostParams::default();
    let owner = maps.create(&post, &config_map("owner")).await.unwrap();
    let mut child = owned("child", &owner, true);
    child.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    maps.create(&post, &child).await.unwrap();
    maps.delete("owner", &DeleteParams::foreground()).await.unwrap();
    eventually(&api, "the child's deletion", |s| {
        s.get(&crate::store::Key::new("configmaps", "default", "child")).is_some_and(|c| c.is_terminating())
    })
    .await;
    assert!(is_there(api.store(), "owner"));
    let release = json!({"metadata": {"finalizers": null}});
    maps.patch("child", &PatchParams::default(), &Patch::Merge(release)).await.unwrap();
    eventually(&api, "the owner's end", |s| !is_there(s, "owner") && !is_there(s, "child")).await;

    let owner = maps.create(&post, &config_map("owner")).await.unwrap();
    maps.create(&post, &owned("child", &owner, true)).await.unwrap();
    maps.delete("owner", &DeleteParams::orphan()).await.unwrap();
    eventually(&api, "the owner's end", |s| !is_there(s, "owner")).await;
    assert!(maps.get("child").await.unwrap().metadata.owner_references.is_none());
}

#[tokio::test]
async fn a_namespace_goes_with_what_is_in_it() {
    use k8s_openapi::api::core::v1::Namespace;
    let (_dir, api) = open().await;
    let namespaces: Objects<Namespace> = Objects::all(api.client("default"));
    let new = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces.create(&PostParams::default(), &new).await.unwrap();
    let maps: Objects<ConfigMap> = Objects::namespaced(api.client("default"), "n");
    maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    let error = maps.create(&PostParams::default(), &config_map("b")).await.unwrap_err();
    assert!(error.to_string().contains("because it is being terminated"), "{error}");
    eventually(&api, "the end of the namespace", |s| {
        s.all().objects.iter().all(|o| o.key().namespace != "n")
    })
    .await;
    eventually(&api, "the end of the namespace", |s| {
        s.get(&crate::store::Key::new("namespaces", "", "n")).is_none()
    })
    .await;
    let error = namespaces.delete("default", &DeleteParams::default()).await.unwrap_err();
    assert!(error.to_string().contains("this namespace may not be deleted"), "{error}");
}
