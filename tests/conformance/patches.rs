//! Patches: merge, JSON, strategic, and server-side apply.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::subject::{Subject, config_map, on_each, refusal, service, typed};

async fn apply(services: &Api<DynamicObject>, manager: &str, value: &Value) -> kube::Result<DynamicObject> {
    services.patch("s", &PatchParams::apply(manager), &Patch::Apply(value)).await
}

fn env(object: &DynamicObject) -> Vec<&str> {
    let env = object.data["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    env.into_iter().flatten().filter_map(|env| env["name"].as_str()).collect()
}

#[tokio::test]
async fn a_merge_patch_sets_and_removes() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let patch = Patch::Merge(json!({"data": {"a": null, "b": "2"}, "metadata": {"labels": {"l": "1"}}}));
        let patched = maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(serde_json::to_value(patched.data).unwrap(), json!({"b": "2"}));
        assert_eq!(patched.metadata.labels.unwrap()["l"], "1");
        let stale = Patch::Merge(json!({"metadata": {"resourceVersion": "1"}, "data": {"c": "3"}}));
        assert_eq!(refusal(maps.patch("a", &PatchParams::default(), &stale).await).code, 409);
        let nobody = refusal(maps.patch("nobody", &PatchParams::default(), &stale).await);
        assert_eq!(nobody.code, 404);
    })
    .await;
}

#[tokio::test]
async fn a_json_patch_is_all_or_nothing() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
        let patch = |operations: Value| Patch::<()>::Json(typed(operations));
        let good = patch(json!([{"op": "test", "path": "/data/a", "value": "1"},
            {"op": "replace", "path": "/data/a", "value": "2"}]));
        let patched = maps.patch("a", &PatchParams::default(), &good).await.unwrap();
        assert_eq!(patched.data.unwrap()["a"], "2");
        let bad = patch(json!([{"op": "replace", "path": "/data/a", "value": "3"},
            {"op": "test", "path": "/data/a", "value": "4"}]));
        assert_eq!(refusal(maps.patch("a", &PatchParams::default(), &bad).await).code, 422);
        assert_eq!(maps.get("a").await.unwrap().data.unwrap()["a"], "2");
    })
    .await;
}

#[tokio::test]
async fn a_strategic_patch_is_for_core_kinds() {
    on_each(|subject| async move {
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(subject.client.clone(), &subject.namespace);
        let lists = |name: &str| json!({"secrets": [{"name": name}], "imagePullSecrets": [{"name": name}]});
        let mut new = lists("one");
        new["metadata"] = json!({"name": "a"});
        accounts.create(&PostParams::default(), &typed(new)).await.unwrap();
        let patch = Patch::Strategic(lists("two"));
        let patched = accounts.patch("a", &PatchParams::default(), &patch).await.unwrap();
        let mut names: Vec<String> = patched.secrets.unwrap().into_iter().filter_map(|s| s.name).collect();
        names.sort();
        assert_eq!(names, ["one", "two"], "a list with a merge key is merged");
        assert_eq!(patched.image_pull_secrets.unwrap().len(), 1, "a list without one is replaced");

        let services = subject.services();
        apply(&services, "me", &service("s", &["A"])).await.unwrap();
        let patch = Patch::Strategic(json!({"metadata": {"labels": {"a": "b"}}}));
        let refused = refusal(services.patch("s", &PatchParams::default(), &patch).await);
        assert_eq!((refused.code, refused.reason.as_str()), (415, "UnsupportedMediaType"));
    })
    .await;
}

#[tokio::test]
async fn applying_creates_updates_and_removes() {
    on_each(|subject| async move {
        let services = subject.services();
        let first = apply(&services, "me", &service("s", &["A", "B"])).await.unwrap();
        assert_eq!((env(&first), first.metadata.generation), (vec!["A", "B"], Some(1)));
        let again = apply(&services, "me", &service("s", &["A", "B"])).await.unwrap();
        assert_eq!(again.metadata.generation, Some(1));
        let less = apply(&services, "me", &service("s", &["B"])).await.unwrap();
        assert_eq!((env(&less), less.metadata.generation), (vec!["B"], Some(2)));
        let mut other = service("s", &["B"]);
        other["spec"]["template"]["spec"]["timeoutSeconds"] = 10.into();
        let with = apply(&services, "me", &other).await.unwrap();
        assert_eq!(with.data["spec"]["template"]["spec"]["timeoutSeconds"], 10);
        let without = apply(&services, "me", &service("s", &["B"])).await.unwrap();
        assert_eq!(without.data["spec"]["template"]["spec"]["timeoutSeconds"], 300, "the default comes back");
    })
    .await;
}

#[tokio::test]
async fn an_identical_application_is_no_write() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        let params = PatchParams::apply("me");
        let first = maps.patch("a", &params, &Patch::Apply(&map)).await.unwrap();
        let again = maps.patch("a", &params, &Patch::Apply(&map)).await.unwrap();
        assert_eq!(first.metadata, again.metadata);
    })
    .await;
}

fn applied_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

async fn apply_map(subject: &Subject, params: &PatchParams, data: &Value) -> kube::Result<Value> {
    let map = subject.config_maps().patch("a", params, &Patch::Apply(applied_map(data))).await?;
    Ok(serde_json::to_value(map.data).unwrap())
}

#[tokio::test]
async fn fields_of_others_are_a_conflict_unless_forced() {
    on_each(|subject| async move {
        apply_map(&subject, &PatchParams::apply("one"), &json!({"a": "1", "b": "1"})).await.unwrap();
        let two = PatchParams::apply("two");
        let conflict = refusal(apply_map(&subject, &two, &json!({"a": "2"})).await);
        assert_eq!((conflict.code, conflict.reason.as_str()), (409, "Conflict"));
        assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
        let causes = conflict.details.unwrap().causes;
        assert_eq!(
            (causes[0].reason.as_str(), causes[0].field.as_str()),
            ("FieldManagerConflict", ".data.a")
        );
        let forced = apply_map(&subject, &two.clone().force(), &json!({"a": "2"})).await.unwrap();
        assert_eq!(forced, json!({"a": "2", "b": "1"}));
        let shared = apply_map(&subject, &two, &json!({"a": "2", "b": "1"})).await.unwrap();
        assert_eq!(shared, json!({"a": "2", "b": "1"}), "the same value is shared");
        let one = apply_map(&subject, &PatchParams::apply("one"), &json!({})).await.unwrap();
        assert_eq!(one, json!({"a": "2", "b": "1"}), "what another applies stays");
    })
    .await;
}

#[tokio::test]
async fn an_update_takes_a_field_from_who_applied_it() {
    on_each(|subject| async move {
        apply_map(&subject, &PatchParams::apply("one"), &json!({"a": "1"})).await.unwrap();
        let patch = Patch::Merge(json!({"data": {"a": "2"}}));
        let params = PatchParams { field_manager: Some("editor".into()), ..PatchParams::default() };
        let map = subject.config_maps().patch("a", &params, &patch).await.unwrap();
        let managers: Vec<String> =
            map.metadata.managed_fields.unwrap().into_iter().filter_map(|entry| entry.manager).collect();
        assert_eq!(managers, ["editor"]);
        let conflict = refusal(apply_map(&subject, &PatchParams::apply("one"), &json!({"a": "3"})).await);
        assert_eq!(
            conflict.message,
            "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.a"
        );
    })
    .await;
}

#[tokio::test]
async fn applying_wants_a_manager_and_no_managed_fields() {
    on_each(|subject| async move {
        let maps = subject.config_maps();
        let nameless = PatchParams::default();
        let request = http::Request::patch(format!("/api/v1/namespaces/{}/configmaps/a", subject.namespace))
            .header("content-type", "application/apply-patch+yaml")
            .body(applied_map(&json!({})).to_string().into_bytes())
            .unwrap();
        let (code, status) = subject.raw(request).await;
        assert_eq!(code, 422);
        assert!(status["message"].as_str().unwrap().contains("fieldManager: Required value"), "{status}");
        let mut managed = applied_map(&json!({}));
        managed["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {}}]);
        let refused = refusal(maps.patch("a", &PatchParams::apply("me"), &Patch::Apply(&managed)).await);
        assert_eq!((refused.code, refused.message.as_str()), (400, "metadata.managedFields must be nil"));
        drop(nameless);
    })
    .await;
}
