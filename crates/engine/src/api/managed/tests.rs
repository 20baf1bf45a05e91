use super::*;
use crate::api::catalog;

fn pods() -> &'static Resource {
    catalog::find("", "v1", "pods").unwrap()
}

fn by(manager: &str, operation: Operation, force: bool) -> WriteOptions {
    WriteOptions { manager: manager.into(), operation, force, ..WriteOptions::default() }
}

fn applied(live: &Value, object: &Value, manager: &str) -> Result<Value> {
    apply(pods(), live, object, None, &by(manager, Operation::Apply, false))
}

fn object(labels: Value) -> Value {
    json!({"metadata": {"name": "p", "labels": labels}})
}

#[test]
fn a_field_that_is_no_longer_applied_goes() {
    let live = applied(&json!({}), &object(json!({"a": "1", "b": "2"})), "x").unwrap();
    let live = applied(&live, &object(json!({"a": "1"})), "x").unwrap();
    assert_eq!(live["metadata"]["labels"], json!({"a": "1"}));
}

#[test]
fn a_field_that_another_applies_too_stays() {
    let live = applied(&json!({}), &object(json!({"a": "1"})), "x").unwrap();
    let live = applied(&live, &object(json!({"a": "1"})), "y").unwrap();
    let live = applied(&live, &object(json!({"b": "1"})), "x").unwrap();
    assert_eq!(live["metadata"]["labels"], json!({"a": "1", "b": "1"}));
}

#[test]
fn removing_the_last_field_removes_the_structure() {
    let with = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}});
    let without = json!({"spec": {"containers": [{"name": "c"}]}});
    let live = applied(&json!({}), &with, "x").unwrap();
    let live = applied(&live, &without, "x").unwrap();
    assert_eq!(live["spec"]["containers"], json!([{"name": "c"}]));
}

#[test]
fn removing_the_last_label_keeps_the_rest_of_the_metadata() {
    let mut live = applied(&json!({}), &object(json!({"a": "1"})), "x").unwrap();
    live["metadata"]["annotations"] = json!({"of": "the server"});
    let live = applied(&live, &json!({"metadata": {"name": "p"}}), "x").unwrap();
    assert_eq!(live["metadata"]["name"], "p");
    assert_eq!(live["metadata"]["annotations"], json!({"of": "the server"}));
    assert!(live["metadata"].get("labels").is_none());
}

#[test]
fn an_item_that_is_no_longer_applied_goes_with_its_defaults() {
    let env = |names: &[&str]| {
        let env: Vec<Value> = names.iter().map(|n| json!({"name": n, "value": "v"})).collect();
        json!({"spec": {"containers": [{"name": "c", "env": env}]}})
    };
    let live = applied(&json!({}), &env(&["A", "B"]), "x").unwrap();
    let live = applied(&live, &env(&["B"]), "x").unwrap();
    assert_eq!(live["spec"]["containers"][0]["env"], json!([{"name": "B", "value": "v"}]));
}

#[test]
fn changing_a_field_of_another_is_a_conflict() {
    let live = applied(&json!({}), &object(json!({"a": "1", "b": "1"})), "x").unwrap();
    let error = applied(&live, &object(json!({"a": "2"})), "y").unwrap_err();
    assert_eq!(error.code(), 409);
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"x\": .metadata.labels.a");
    let error = applied(&live, &object(json!({"a": "2", "b": "2"})), "y").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"x\":\n- .metadata.labels.a\n- .metadata.labels.b"
    );
    assert_eq!(error.status()["details"]["causes"][0]["reason"], "FieldManagerConflict");
}

#[test]
fn force_takes_the_field_over() {
    let live = applied(&json!({}), &object(json!({"a": "1"})), "x").unwrap();
    let forced = by("y", Operation::Apply, true);
    let live = apply(pods(), &live, &object(json!({"a": "2"})), None, &forced).unwrap();
    let managers: Vec<&str> = live["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["manager"].as_str().unwrap())
        .collect();
    assert_eq!(managers, ["y"]);
}

#[test]
fn an_update_takes_what_it_changes() {
    let live = applied(&json!({}), &object(json!({"a": "1", "b": "1"})), "x").unwrap();
    let mut new = live.clone();
    new["metadata"]["labels"]["a"] = "2".into();
    update(pods(), Some(&live), &mut new, None, &by("u", Operation::Update, false));
    let managers = Managers::of(&new);
    let paths = |n: usize| managers.0[n].set.paths();
    assert_eq!((managers.0[0].manager.as_str(), paths(0)), ("x", vec![".metadata.labels.b".to_owned()]));
    assert_eq!((managers.0[1].manager.as_str(), paths(1)), ("u", vec![".metadata.labels.a".to_owned()]));
}

#[test]
fn the_number_of_updaters_is_bounded() {
    let mut live = json!({"metadata": {"name": "p", "labels": {}}});
    for n in 0..30 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{n}")] = "x".into();
        update(pods(), Some(&live), &mut new, None, &by(&format!("m{n}"), Operation::Update, false));
        live = new;
    }
    let managers = Managers::of(&live);
    assert_eq!(managers.0.len(), MAX_UPDATERS);
    assert_eq!(managers.all().paths().len(), 30);
}
