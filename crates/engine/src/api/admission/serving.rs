//! Knative Serving's webhooks: Service, Configuration, Route, Revision.

use serde_json::{Map, Value};

use super::{Problems, Review, is_set, items, text};
use crate::api::object;

mod defaults;
mod metadata;
mod podspec;
mod scaling;
mod traffic;
mod volumes;

/// Who made the object; never changes.
const CREATOR: &str = "serving.knative.dev/creator";
/// Who changed its specification last.
const MODIFIER: &str = "serving.knative.dev/lastModifier";

/// Sets defaults of the four kinds.
pub(super) fn fill_in(review: &Review<'_>, new: &mut Value) {
    let creating = review.old.is_none();
    match review.resource.kind {
        "Service" => {
            defaults::template(object::child_mut(new, "spec"), creating);
            defaults::traffic(object::child_mut(new, "spec"), None);
        }
        "Configuration" => defaults::template(object::child_mut(new, "spec"), creating),
        "Route" => {
            let name = object::name(new).to_owned();
            defaults::traffic(object::child_mut(new, "spec"), Some(&name));
        }
        // A Revision is immutable, so that only a new one can get defaults.
        "Revision" if creating => defaults::revision(object::child_mut(new, "spec"), true),
        _ => {}
    }
    if review.resource.kind != "Revision" && !is_owned(new) {
        sign(review, new);
    }
}

/// Whether another object made this one: then its annotations come from there.
fn is_owned(value: &Value) -> bool {
    value.pointer("/metadata/ownerReferences").and_then(Value::as_array).is_some_and(|o| !o.is_empty())
}

/// Writes who made and who changed the object.
fn sign(review: &Review<'_>, new: &mut Value) {
    let changed = review.old.is_none_or(|old| old["spec"] != new["spec"]);
    if !changed {
        return;
    }
    let metadata = object::metadata_mut(new);
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(annotations) = annotations else { return };
    if review.old.is_none() {
        annotations.insert(CREATOR.into(), review.user.into());
    }
    annotations.insert(MODIFIER.into(), review.user.into());
}

/// What the webhook finds wrong.
pub(super) fn judge(review: &Review<'_>, new: &Value) -> Problems {
    if review.status {
        return Problems::none();
    }
    let spec = &new["spec"];
    let mut problems = metadata::judge(review.resource.kind, new).under("metadata");
    match review.resource.kind {
        "Service" => {
            problems.add(template(review, new, &spec["template"]).under("template").under("spec"));
            problems.add(traffic::judge(items(spec, "traffic"), true).under("traffic").under("spec"));
            problems.add(renamed(review, new));
            problems.add(signed(review, new));
        }
        "Configuration" => {
            problems.add(template(review, new, &spec["template"]).under("template").under("spec"));
            problems.add(renamed(review, new));
            problems.add(signed(review, new));
        }
        "Route" => {
            problems.add(traffic::judge(items(spec, "traffic"), false).under("traffic").under("spec"));
            problems.add(signed(review, new));
        }
        "Revision" => problems.add(revision(review, new)),
        _ => {}
    }
    problems
}

fn template(review: &Review<'_>, parent: &Value, template: &Value) -> Problems {
    let mut problems = podspec::judge(review, &template["spec"]).under("spec");
    let annotations = template.pointer("/metadata/annotations");
    problems.add(scaling::judge(annotations).under("metadata.annotations"));
    problems.add(metadata::revision_name(parent, &template["metadata"]));
    problems
}

fn revision(review: &Review<'_>, new: &Value) -> Problems {
    match review.old {
        None => podspec::judge(review, &new["spec"]).under("spec"),
        Some(old) if old["spec"] != new["spec"] => Problems::of(
            "Immutable fields changed (-old +new)",
            &["spec"],
        )
        .because(difference(&old["spec"], &new["spec"], "{v1.RevisionSpec}")),
        Some(_) => Problems::none(),
    }
}

/// A template that brings its own revision name needs another one for each change.
fn renamed(review: &Review<'_>, new: &Value) -> Problems {
    let Some(old) = review.old else { return Problems::none() };
    let (old, new) = (&old["spec"]["template"], &new["spec"]["template"]);
    let name = |template: &Value| text(&template["metadata"], "name").to_owned();
    if name(new).is_empty() || name(new) != name(old) || old == new {
        return Problems::none();
    }
    Problems::of("Saw the following changes without a name change (-old +new)", &["metadata.name"])
        .because(difference(old, new, "*{v1.RevisionTemplateSpec}"))
        .under("spec.template")
}

fn signed(review: &Review<'_>, new: &Value) -> Problems {
    let Some(old) = review.old.filter(|_| !is_owned(new)) else { return Problems::none() };
    let annotation = |value: &Value, key: &str| text(&value["metadata"]["annotations"], key).to_owned();
    let mut problems = Problems::none();
    if annotation(old, CREATOR) != annotation(new, CREATOR) {
        problems.add(Problems::of("annotation value is immutable", &[CREATOR]));
    }
    if old["spec"] == new["spec"] && annotation(old, MODIFIER) != annotation(new, MODIFIER) {
        problems.add(Problems::invalid(annotation(new, MODIFIER), MODIFIER));
    }
    problems.under("metadata.annotations")
}

/// The lines that differ, as the webhooks' diff shows them.
fn difference(old: &Value, new: &Value, root: &str) -> String {
    let mut lines = Vec::new();
    differ(old, new, root, &mut lines);
    lines.join("\n")
}

fn differ(old: &Value, new: &Value, path: &str, lines: &mut Vec<String>) {
    if old == new || lines.len() > 30 {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                differ(&old[key], &new[key], &format!("{path}.{key}"), lines);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (old, new)) in a.iter().zip(b).enumerate() {
                differ(old, new, &format!("{path}[{n}]"), lines);
            }
        }
        _ => lines.extend([format!("{path}:"), format!("\t-: {old}"), format!("\t+: {new}")]),
    }
}
