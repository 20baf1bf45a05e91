//! What changed between two states of an object, by field path.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{FieldSet, field_step, item_step};
use crate::api::schema::{Shape, Typed};

/// Paths that are new, different and gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

/// Compares two states.
pub(crate) fn compare(old: &Value, new: &Value, typed: Typed) -> Diff {
    let mut diff = visit(Some(old), Some(new), typed);
    for set in [&mut diff.added, &mut diff.modified, &mut diff.removed] {
        set.member = false;
    }
    diff
}

fn visit(old: Option<&Value>, new: Option<&Value>, typed: Typed) -> Diff {
    let mut diff = Diff::default();
    match (old, new) {
        (None, Some(_)) => diff.added.member = true,
        (Some(_), None) => diff.removed.member = true,
        (Some(old), Some(new)) if old == new => return diff,
        (Some(old), Some(new)) if is_leaf(old, typed) || is_leaf(new, typed) => diff.modified.member = true,
        _ => {}
    }
    let mut steps: BTreeMap<String, (Option<&Value>, Option<&Value>, Typed)> = BTreeMap::new();
    for (step, value, inner) in old.map(|old| children(old, typed)).into_iter().flatten() {
        steps.insert(step, (Some(value), None, inner));
    }
    for (step, value, inner) in new.map(|new| children(new, typed)).into_iter().flatten() {
        steps.entry(step).or_insert((None, None, inner)).1 = Some(value);
    }
    for (step, (old, new, inner)) in steps {
        let child = visit(old, new, inner);
        put(&mut diff.added, &step, child.added);
        put(&mut diff.modified, &step, child.modified);
        put(&mut diff.removed, &step, child.removed);
    }
    diff
}

fn put(set: &mut FieldSet, step: &str, child: FieldSet) {
    if !child.is_empty() {
        set.children.insert(step.to_owned(), child);
    }
}

fn is_leaf(value: &Value, typed: Typed) -> bool {
    matches!(typed.shape(value), Shape::Leaf)
}

/// The parts of a value that are owned one by one.
fn children(value: &Value, typed: Typed) -> Vec<(String, &Value, Typed)> {
    match typed.shape(value) {
        Shape::Leaf => Vec::new(),
        Shape::Fields => {
            let fields = value.as_object().into_iter().flatten();
            fields.map(|(name, child)| (field_step(name), child, typed.field(name))).collect()
        }
        Shape::Keyed(_) | Shape::Set => {
            let items = value.as_array().into_iter().flatten();
            items.map(|item| (item_step(item, typed, value), item, typed.item())).collect()
        }
    }
}
