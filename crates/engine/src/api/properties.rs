//! Properties of the parts that take whatever a client sends: patches, applied objects, selectors, paths, bodies.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    catalog,
    fields::{self, FieldSet},
    managed, patch, path, protobuf, query, schema, selector,
    write::{Operation, WriteOptions},
};
use crate::api::schema::Typed;

/// Any JSON, not too large.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c$]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-d]|spec|containers|name|env|metadata|\\$patch", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Applied pods: the parts whose merging differs.
fn pod() -> impl Strategy<Value = Value> {
    let text = || "[xyz]";
    let labels = proptest::collection::btree_map("[abc]", text(), 0..3);
    let env = proptest::collection::btree_map("[ABC]", text(), 0..3);
    let ports = proptest::collection::btree_set(80..83, 0..3);
    let container = (env, ports, proptest::option::of(text()), vec(text(), 0..3)).prop_map(|(env, ports, dir, args)| {
        let mut container = json!({
            "env": env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
            "ports": ports.iter().map(|port| json!({"containerPort": port})).collect::<Vec<_>>(),
            "args": args,
        });
        if let Some(dir) = dir {
            container["workingDir"] = dir.into();
        }
        container
    });
    let containers = proptest::collection::btree_map("[pqr]", container, 0..3).prop_map(|containers| {
        let named = containers.into_iter().map(|(name, mut container)| {
            container["name"] = name.into();
            container
        });
        named.collect::<Vec<_>>()
    });
    let selector = proptest::option::of(proptest::collection::btree_map("[ab]", text(), 0..2));
    (labels, containers, selector).prop_map(|(labels, containers, selector)| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
        if !labels.is_empty() {
            pod["metadata"]["labels"] = json!(labels);
        }
        if let Some(selector) = selector {
            pod["spec"]["nodeSelector"] = json!(selector);
        }
        pod
    })
}

fn pods() -> Typed {
    schema::of(catalog::find("", "v1", "pods").unwrap())
}

fn apply(live: &Value, applied: &Value, manager: &str, force: bool) -> Option<Value> {
    let options = WriteOptions {
        manager: manager.into(),
        operation: Operation::Apply,
        force,
        ..WriteOptions::default()
    };
    let resource = catalog::find("", "v1", "pods").unwrap();
    managed::apply(resource, live, applied, None, &options).ok()
}

/// Without the times of the managers.
fn timeless(mut value: Value) -> Value {
    for entry in
        value.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut).into_iter().flatten()
    {
        entry.as_object_mut().unwrap().shift_remove("time");
    }
    value
}

proptest! {
    #[test]
    fn a_merge_patch_is_what_the_rfc_says(target in any_json(), patch in any_json()) {
        let (mut ours, mut theirs) = (target.clone(), target);
        patch::merge::merge(&mut ours, &patch);
        json_patch::merge(&mut theirs, &patch);
        prop_assert_eq!(&ours, &theirs);
        let once = ours.clone();
        patch::merge::merge(&mut ours, &patch);
        prop_assert_eq!(ours, once, "the second time changes nothing");
    }

    #[test]
    fn a_strategic_patch_takes_anything(target in any_json(), patch in any_json()) {
        let mut value = target;
        drop(patch::strategic::merge(&mut value, &patch, pods()));
    }

    #[test]
    fn a_strategic_patch_with_a_whole_pod_makes_it_part_of_the_result(old in pod(), new in pod()) {
        let mut merged = old;
        patch::strategic::merge(&mut merged, &new, pods()).unwrap();
        let once = merged.clone();
        patch::strategic::merge(&mut merged, &new, pods()).unwrap();
        prop_assert_eq!(&merged, &once, "the second time changes nothing");
        for container in new["spec"]["containers"].as_array().unwrap() {
            let found = merged["spec"]["containers"].as_array().unwrap().iter().find(|c| c["name"] == container["name"]);
            prop_assert_eq!(&found.unwrap()["args"], &container["args"]);
        }
    }

    #[test]
    fn one_manager_gets_what_it_applies(first in pod(), second in pod()) {
        let live = apply(&json!({}), &first, "one", false).unwrap();
        let live = apply(&live, &second, "one", false).unwrap();
        let fresh = apply(&json!({}), &second, "one", false).unwrap();
        prop_assert_eq!(timeless(live), timeless(fresh));
    }

    #[test]
    fn applying_again_changes_nothing(first in pod(), second in pod()) {
        let live = apply(&json!({}), &first, "one", false).unwrap();
        let live = apply(&live, &second, "two", true).unwrap();
        let again = apply(&live, &second, "two", false);
        prop_assert_eq!(again, Some(live));
    }

    #[test]
    fn force_wins_and_what_only_the_other_applied_stays(first in pod(), second in pod()) {
        let live = apply(&json!({}), &first, "one", false).unwrap();
        let live = apply(&live, &second, "two", true).unwrap();
        let labels = |value: &Value| value["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        let mut wanted = labels(&first);
        wanted.extend(labels(&second));
        prop_assert_eq!(labels(&live), wanted);
    }

    #[test]
    fn a_written_set_is_read_back(value in pod()) {
        let set = FieldSet::of_applied(&value, pods());
        prop_assert_eq!(&FieldSet::decode(&set.encode()), &set);
        prop_assert!(set.difference(&set).is_empty());
        prop_assert_eq!(&set.union(&set), &set);
        prop_assert_eq!(&set.intersection(&set), &set);
    }

    #[test]
    fn any_set_is_taken(value in any_json()) {
        let set = FieldSet::decode(&value);
        drop((set.paths(), set.with_named_fields(pods()), set.encode()));
    }

    #[test]
    fn a_diff_and_its_reverse_agree(old in pod(), new in pod()) {
        let (there, back) = (fields::compare(&old, &new, pods()), fields::compare(&new, &old, pods()));
        prop_assert_eq!(there.added, back.removed);
        prop_assert_eq!(there.modified, back.modified);
        prop_assert!(fields::compare(&old, &old, pods()) == fields::Diff::default());
    }

    #[test]
    fn any_object_is_checked(value in any_json()) {
        for resource in catalog::RESOURCES {
            let mut value = value.clone();
            drop(schema::check::check(schema::of(resource), &mut value));
        }
    }

    #[test]
    fn any_selector_is_parsed_or_refused(text in "[a-z!=, ()/.-]{0,24}|\\PC{0,24}") {
        let resource = catalog::find("", "v1", "pods").unwrap();
        for name in ["labelSelector", "fieldSelector"] {
            let raw = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
            let query = query::Query::parse(Some(&format!("{name}={raw}")));
            drop(selector::Selector::from_query(&query, resource));
        }
    }

    #[test]
    fn any_path_is_parsed_or_refused(text in "(/(api|apis|v1|namespaces|pods|[a-z%.0-9]{0,6})){0,8}|\\PC{0,40}") {
        drop(path::Target::parse(&text));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..200), kind in "Secret|DeleteOptions|ConfigMap") {
        drop(protobuf::decode(&bytes));
        let length = u8::try_from(bytes.len()).unwrap();
        let types = [&[0x12, u8::try_from(kind.len()).unwrap()][..], kind.as_bytes()].concat();
        let mut body = [b"k8s\0\x0a", &[u8::try_from(types.len()).unwrap()][..], &types].concat();
        body.extend([0x12]);
        body.extend(if length < 128 { vec![length] } else { vec![length, 1] });
        body.extend(bytes);
        drop(protobuf::decode(&body));
    }
}
