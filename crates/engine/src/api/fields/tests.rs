use serde_json::json;

use super::*;
use crate::api::{catalog, schema};

fn pods() -> Typed {
    schema::of(catalog::find("", "v1", "pods").unwrap())
}

#[test]
fn the_written_form_is_read_back() {
    let text = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}}});
    let set = FieldSet::decode(&text);
    assert_eq!(set.encode(), text);
    assert_eq!(
        set.paths(),
        [
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.containers[name=\"a\"]",
            ".spec.containers[name=\"a\"].image"
        ]
    );
}

#[test]
fn an_applied_object_owns_its_leaves_and_items() {
    let value = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"nodeSelector": {"a": "b"},
        "containers": [{"name": "a", "ports": [{"containerPort": 80}], "args": ["1"]}]}});
    assert_eq!(
        FieldSet::of_applied(&value, pods()).encode(),
        json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:nodeSelector": {}, "f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:args": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}})
    );
}

#[test]
fn a_diff_tells_added_modified_and_removed() {
    let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}});
    let new = json!({"spec": {"containers": [{"name": "a", "image": "2", "args": []}]}});
    let diff = compare(&old, &new, pods());
    assert_eq!(diff.modified.paths(), [".spec.containers[name=\"a\"].image"]);
    assert_eq!(diff.added.paths(), [".spec.containers[name=\"a\"].args"]);
    assert_eq!(diff.removed.paths(), [".spec.containers[name=\"b\"]", ".spec.containers[name=\"b\"].name"]);
}

#[test]
fn merged_lists_follow_the_applied_order() {
    let list = |names: &[&str]| json!({"spec": {"containers": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()}});
    let mut live = list(&["x", "a", "y", "b", "z"]);
    merge(&mut live, &list(&["b", "a", "n"]), pods());
    let names: Vec<&str> =
        live["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["x", "y", "b", "a", "n", "z"]);
}
