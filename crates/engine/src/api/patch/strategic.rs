//! Strategic merge patch: like a merge patch, but lists with a key are merged item by item.
//!
//! Directives: `$patch` (`replace`, `delete`, `merge`), `$retainKeys`, `$setElementOrder/FIELD`,
//! `$deleteFromPrimitiveList/FIELD`. The keys are those of the schema; of several, the first is the merge key.

use serde_json::{Map, Value};

use crate::api::schema::{ListKind, Type, Typed};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_ITEMS: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `target`.
pub(crate) fn merge(target: &mut Value, patch: &Value, typed: Typed) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            *target = clean(patch);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("Unknown patch type found: {other}")),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return Ok(()) };
    retain_keys(map, patch);
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        merge_field(map, name, value, typed.field(name))?;
    }
    for (name, value) in patch {
        if let Some(field) = name.strip_prefix(DELETE_ITEMS) {
            delete_items(map, field, value);
        } else if let Some(field) = name.strip_prefix(ORDER) {
            reorder(map, field, value, merge_key(typed.field(field)));
        }
    }
    Ok(())
}

fn merge_field(map: &mut Map<String, Value>, name: &str, value: &Value, typed: Typed) -> Result<(), String> {
    if value.is_null() {
        map.shift_remove(name);
        return Ok(());
    }
    match (value, typed.ty()) {
        (Value::Array(items), Type::List(_, ListKind::Keyed(keys))) => {
            let list = map.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
            merge_list(list, items, keys.first().copied().unwrap_or("name"), typed)
        }
        (Value::Array(items), Type::List(_, ListKind::Set)) => {
            let list = map.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                let new: Vec<Value> = items.iter().filter(|item| !list.contains(item)).cloned().collect();
                list.extend(new);
            }
            Ok(())
        }
        _ => merge(map.entry(name.to_owned()).or_insert(Value::Null), value, typed),
    }
}

fn merge_list(target: &mut Value, patch: &[Value], key: &str, typed: Typed) -> Result<(), String> {
    let replaces = |item: &Value| item.get(PATCH).and_then(Value::as_str) == Some("replace");
    if patch.iter().any(|item| replaces(item) && item.as_object().is_some_and(|m| m.len() == 1)) {
        let kept = patch.iter().filter(|item| !replaces(item)).cloned();
        *target = Value::Array(kept.collect());
        return Ok(());
    }
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Value::Array(list) = target else { return Ok(()) };
    for item in patch {
        let id =
            item.get(key).ok_or_else(|| format!("map: {item} does not contain declared merge key: {key}"))?;
        let place = list.iter().position(|mine| mine.get(key) == Some(id));
        match (item.get(PATCH).and_then(Value::as_str), place) {
            (Some("delete"), Some(place)) => drop(list.remove(place)),
            (Some("delete"), None) => {}
            (_, Some(place)) => merge(&mut list[place], item, typed.item())?,
            (_, None) => {
                let mut new = Value::Object(Map::new());
                merge(&mut new, item, typed.item())?;
                list.push(new);
            }
        }
    }
    Ok(())
}

/// Without directives.
fn clean(patch: &Map<String, Value>) -> Value {
    let kept = patch.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn retain_keys(map: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if let Some(Value::Array(keys)) = patch.get(RETAIN_KEYS) {
        map.retain(|name, _| keys.iter().any(|key| key == name));
    }
}

fn delete_items(map: &mut Map<String, Value>, field: &str, value: &Value) {
    if let (Some(Value::Array(list)), Value::Array(gone)) = (map.get_mut(field), value) {
        list.retain(|item| !gone.contains(item));
    }
}

fn merge_key(typed: Typed) -> Option<&'static str> {
    match typed.ty() {
        Type::List(_, ListKind::Keyed(keys)) => keys.first().copied(),
        _ => None,
    }
}

/// Items in the given order; items that are not in it keep their place relative to what stands before them.
fn reorder(map: &mut Map<String, Value>, field: &str, order: &Value, key: Option<&str>) {
    let (Some(Value::Array(list)), Value::Array(order)) = (map.get_mut(field), order) else { return };
    let place_of = |item: &Value| {
        order.iter().position(|wanted| match key {
            Some(key) => item.get(key).is_some() && item.get(key) == wanted.get(key),
            None => item == wanted,
        })
    };
    let mut last = 0;
    let mut placed: Vec<(usize, Value)> = list
        .drain(..)
        .map(|item| {
            last = place_of(&item).unwrap_or(last);
            (last, item)
        })
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    list.extend(placed.into_iter().map(|(_, item)| item));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{catalog, schema};

    fn pod(mut target: Value, patch: &Value) -> Value {
        let resource = catalog::find("", "v1", "pods").unwrap();
        merge(&mut target, patch, schema::of(resource)).unwrap();
        target
    }

    #[test]
    fn containers_and_their_env_merge_by_name() {
        let old = json!({"spec": {"containers": [
            {"name": "a", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "b", "image": "y"}]}});
        let patch = json!({"spec": {"containers": [
            {"name": "a", "env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}]}]}});
        let new = pod(old, &patch);
        assert_eq!(
            new["spec"]["containers"][0],
            json!({"name": "a", "image": "x", "env": [
            {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]})
        );
        assert_eq!(new["spec"]["containers"][1]["image"], "y");
    }

    #[test]
    fn atomic_lists_are_replaced() {
        let old = json!({"spec": {"containers": [{"name": "a", "args": ["1", "2"]}]}});
        let new = pod(old, &json!({"spec": {"containers": [{"name": "a", "args": ["3"]}]}}));
        assert_eq!(new["spec"]["containers"][0]["args"], json!(["3"]));
    }

    #[test]
    fn directives() {
        let old = json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}},
            "spec": {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]}});
        let new = pod(
            old,
            &json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"],
                "labels": {"$patch": "replace", "z": "3"}},
            "spec": {"$setElementOrder/volumes": [{"name": "w"}, {"name": "v"}],
                "volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}}),
        );
        assert_eq!(new["metadata"]["finalizers"], json!(["b", "c"]));
        assert_eq!(new["metadata"]["labels"], json!({"z": "3"}));
        assert_eq!(
            new["spec"]["volumes"],
            json!([{"name": "w", "emptyDir": {}}, {"name": "v", "secret": {"secretName": "s"}}])
        );
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let mut target = json!({"spec": {"containers": []}});
        let resource = catalog::find("", "v1", "pods").unwrap();
        let patch = json!({"spec": {"containers": [{"image": "x"}]}});
        assert!(merge(&mut target, &patch, schema::of(resource)).is_err());
    }
}
