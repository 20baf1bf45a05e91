//! Merging an applied object into the live one, and removing fields by path.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{FieldSet, field_step, item_step};
use crate::api::schema::{Shape, Typed};

/// Merges `applied` into `live`, as its types say.
pub(crate) fn merge(live: &mut Value, applied: &Value, typed: Typed) {
    match typed.shape(applied) {
        Shape::Fields if live.is_object() => {
            let (Value::Object(live), Value::Object(applied)) = (live, applied) else { return };
            for (name, value) in applied {
                match live.get_mut(name) {
                    Some(mine) => merge(mine, value, typed.field(name)),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        Shape::Keyed(_) | Shape::Set if live.is_array() => merge_lists(live, applied, typed),
        _ => *live = applied.clone(),
    }
}

/// The applied order counts; items that only the live list has stay before the item they stood before.
fn merge_lists(live: &mut Value, applied: &Value, typed: Typed) {
    let (Value::Array(mine), Value::Array(items)) = (live.take(), applied) else { return };
    let is_new = Value::Array(Vec::new());
    let step = |item: &Value| item_step(item, typed, &is_new);
    let applied_steps: Vec<String> = items.iter().map(step).collect();
    let mut mine: Vec<(String, Option<Value>)> = mine.into_iter().map(|v| (step(&v), Some(v))).collect();
    let places: BTreeMap<String, usize> = mine.iter().enumerate().map(|(n, (s, _))| (s.clone(), n)).collect();
    let mut merged = Vec::new();
    let mut next = 0;
    for (item, step) in items.iter().zip(&applied_steps) {
        let Some(&place) = places.get(step) else {
            merged.push(item.clone());
            continue;
        };
        while next < place {
            if !applied_steps.contains(&mine[next].0) {
                merged.extend(mine[next].1.take());
            }
            next += 1;
        }
        if let Some(mut value) = mine[place].1.take() {
            merge(&mut value, item, typed.item());
            merged.push(value);
        }
    }
    merged.extend(mine.into_iter().filter(|(step, _)| !applied_steps.contains(step)).filter_map(|(_, v)| v));
    *live = Value::Array(merged);
}

/// Removes everything at and under the paths of `set`.
pub(crate) fn remove(value: &mut Value, set: &FieldSet, typed: Typed) {
    let shape = typed.shape(value);
    match (shape, value) {
        (Shape::Fields, Value::Object(map)) => {
            map.retain(|name, child| match set.children.get(&field_step(name)) {
                Some(inner) if inner.member => false,
                Some(inner) => {
                    remove(child, inner, typed.field(name));
                    true
                }
                None => true,
            });
        }
        (Shape::Keyed(_) | Shape::Set, list @ Value::Array(_)) => {
            let Value::Array(items) = list.take() else { return };
            let empty = Value::Array(Vec::new());
            let kept = items.into_iter().filter_map(|mut item| {
                match set.children.get(&item_step(&item, typed, &empty)) {
                    Some(inner) if inner.member => None,
                    Some(inner) => {
                        remove(&mut item, inner, typed.item());
                        Some(item)
                    }
                    None => Some(item),
                }
            });
            *list = Value::Array(kept.collect());
        }
        _ => {}
    }
}
