//! Sets of field paths, as `metadata.managedFields` keeps them.
//!
//! A set is a tree; a step is spelled as in `fieldsV1`: `f:name`, `k:{"name":"x"}`, `v:"x"`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{Shape, Typed};

mod diff;
mod merge;
mod text;

pub(crate) use diff::{Diff, compare};
pub(crate) use merge::{merge, remove};

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Whether the path that leads here is in the set.
    member: bool,
    children: BTreeMap<String, FieldSet>,
}

// === impl FieldSet ===

impl FieldSet {
    /// Whether no path is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// The set with only the path that leads here.
    fn here() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }

    /// Reads `fieldsV1`. What is not understood is left out.
    pub(crate) fn decode(value: &Value) -> Self {
        let mut set = Self::decode_node(value);
        set.member = false;
        set
    }

    fn decode_node(value: &Value) -> Self {
        let Value::Object(map) = value else { return Self::here() };
        let mut set = Self { member: map.is_empty() || map.contains_key("."), children: BTreeMap::new() };
        for (step, value) in map.iter().filter(|(step, _)| *step != ".") {
            set.children.insert(step.clone(), Self::decode_node(value));
        }
        set
    }

    /// Writes `fieldsV1`.
    pub(crate) fn encode(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, child) in &self.children {
            map.insert(step.clone(), child.encode());
        }
        Value::Object(map)
    }

    /// The fields an applied object names.
    pub(crate) fn of_applied(value: &Value, typed: Typed) -> Self {
        let mut set = Self::applied_node(value, typed);
        set.member = false;
        set
    }

    fn applied_node(value: &Value, typed: Typed) -> Self {
        let mut set = Self::default();
        match typed.shape(value) {
            Shape::Leaf => return Self::here(),
            Shape::Fields => {
                for (name, child) in value.as_object().into_iter().flatten() {
                    let mut inner = Self::applied_node(child, typed.field(name));
                    inner.member |= inner.children.is_empty() || !typed.declares(name);
                    set.children.insert(field_step(name), inner);
                }
            }
            Shape::Keyed(_) | Shape::Set => {
                for item in value.as_array().into_iter().flatten() {
                    let mut inner = match typed.shape(value) {
                        Shape::Keyed(_) => Self::applied_node(item, typed.item()),
                        _ => Self::here(),
                    };
                    inner.member = true;
                    set.children.insert(item_step(item, typed, value), inner);
                }
            }
        }
        if set.children.is_empty() { Self::here() } else { set }
    }

    /// Paths in either set.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.member |= other.member;
        for (step, child) in &other.children {
            let merged = result.children.get(step).map_or_else(|| child.clone(), |mine| mine.union(child));
            result.children.insert(step.clone(), merged);
        }
        result
    }

    /// Paths in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs, false)
    }

    /// Paths in this set that are not in the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs, true)
    }

    fn combine(&self, other: &Self, decide: fn(bool, bool) -> bool, keep_alone: bool) -> Self {
        let mut result = Self { member: decide(self.member, other.member), children: BTreeMap::new() };
        for (step, mine) in &self.children {
            let child = match other.children.get(step) {
                Some(theirs) => mine.combine(theirs, decide, keep_alone),
                None if keep_alone => mine.clone(),
                None => continue,
            };
            if !child.is_empty() {
                result.children.insert(step.clone(), child);
            }
        }
        result
    }

    /// Also has every structure's field that a member lies under: removing the last field of a structure removes
    /// the structure.
    pub(crate) fn with_named_fields(&self, typed: Typed) -> Self {
        let mut result = self.clone();
        for (step, child) in &mut result.children {
            match step.strip_prefix("f:") {
                Some(name) => {
                    let declared = typed.declares(name);
                    *child = child.with_named_fields(typed.field(name));
                    child.member |= declared;
                }
                None => *child = child.with_named_fields(typed.item()),
            }
        }
        result
    }

    /// Leaves out the paths under a field of the root.
    pub(crate) fn without(mut self, path: &[&str]) -> Self {
        self.strip(path);
        self
    }

    fn strip(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let step = field_step(first);
        if rest.is_empty() {
            self.children.remove(&step);
        } else if let Some(child) = self.children.get_mut(&step) {
            child.strip(rest);
            if child.is_empty() {
                self.children.remove(&step);
            }
        }
    }

    /// Leaves out the path to a field of the root, but not what lies under it.
    pub(crate) fn without_itself(mut self, name: &str) -> Self {
        let step = field_step(name);
        if let Some(child) = self.children.get_mut(&step) {
            child.member = false;
            if child.is_empty() {
                self.children.remove(&step);
            }
        }
        self
    }
}

/// The step to a field.
fn field_step(name: &str) -> String {
    format!("f:{name}")
}

/// The step to an item of `list`.
fn item_step(item: &Value, typed: Typed, list: &Value) -> String {
    match typed.shape(list) {
        Shape::Keyed(keys) => key_step(item, keys),
        _ => format!("v:{item}"),
    }
}

/// The step to an item told apart by its keys. A port without a protocol is a TCP port.
fn key_step(item: &Value, keys: &[&str]) -> String {
    let mut map = BTreeMap::new();
    for key in keys {
        let value = match (item.get(key), *key) {
            (Some(value), _) => value.clone(),
            (None, "protocol") => "TCP".into(),
            (None, _) => continue,
        };
        map.insert(*key, value);
    }
    format!("k:{}", serde_json::to_string(&map).unwrap_or_default())
}

#[cfg(test)]
mod tests;
