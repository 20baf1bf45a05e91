//! Tekton's webhooks: Task and TaskRun.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tm_resources::labels::tekton::RELEASE;

use super::{Problems, Review, is_set, items, text};
use crate::{api::object, go_duration};

mod params;
mod steps;
mod variables;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// What [`RELEASE`] says here: not a Tekton's, this engine's.
const OWN_RELEASE: &str = concat!("tm-", env!("CARGO_PKG_VERSION"));
const TIMEOUT: &str = "1h0m0s";

/// Sets defaults of the two kinds.
pub(super) fn fill_in(review: &Review<'_>, new: &mut Value) {
    if review.resource.kind == "Task" {
        params::fill_in(object::child_mut(new, "spec"));
        return;
    }
    let spec = object::child_mut(new, "spec");
    spec.entry("timeout").or_insert_with(|| TIMEOUT.into());
    let account = spec.entry("serviceAccountName").or_insert_with(|| "".into());
    if account == "" {
        *account = "default".into();
    }
    if let Some(reference) = spec.get_mut("taskRef").filter(|r| r.is_object())
        && !is_set(reference, "kind")
        && !is_set(reference, "resolver")
    {
        reference["kind"] = "Task".into();
    }
    if let Some(Value::Object(inline)) = spec.get_mut("taskSpec") {
        params::fill_in(inline);
    }
    let metadata = object::metadata_mut(new);
    let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(labels) = labels {
        labels.entry(MANAGED_BY).or_insert_with(|| json!("tekton-pipelines"));
    }
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(annotations) = annotations {
        annotations.entry(RELEASE).or_insert_with(|| json!(OWN_RELEASE));
    }
}

/// What the webhook finds wrong.
pub(super) fn judge(review: &Review<'_>, new: &Value) -> Problems {
    if review.status || new.pointer("/metadata/deletionTimestamp").is_some() {
        return Problems::none();
    }
    let spec = &new["spec"];
    let mut problems = name(new);
    if review.resource.kind == "Task" {
        problems.add(task(spec).under("spec"));
        let declared: Vec<&str> = items(spec, "params").iter().map(|p| text(p, "name")).collect();
        problems.add(variables::judge(items(spec, "steps"), &declared).under("spec"));
        return problems;
    }
    problems.add(match review.old {
        Some(old) if old["spec"] == *spec => Problems::none(),
        Some(old) => changed(old, new).under("spec"),
        None => run(spec).under("spec"),
    });
    problems
}

fn name(value: &Value) -> Problems {
    let name = object::name(value);
    if name.contains('.') {
        return Problems::of(
            "Invalid resource name: special character . can't be present",
            &["metadata.name"],
        );
    }
    if name.len() > 63 {
        let message = "Invalid resource name: length must be no more than 63 characters";
        return Problems::of(message, &["metadata.name"]);
    }
    Problems::none()
}

fn run(spec: &Value) -> Problems {
    let both = ["taskRef", "taskSpec"];
    let mut problems = match both.map(|field| spec.get(field).is_some()) {
        [false, false] => Problems::neither(&both),
        [true, true] => Problems::both(&both),
        _ => Problems::none(),
    };
    if let Some(reference) = spec.get("taskRef")
        && !is_set(reference, "name")
        && !is_set(reference, "resolver")
    {
        problems.add(Problems::missing("taskRef.name"));
    }
    if let Some(inline) = spec.get("taskSpec") {
        problems.add(task(inline).under("taskSpec"));
        let declared: Vec<&str> =
            [spec, inline].into_iter().flat_map(|s| items(s, "params")).map(|p| text(p, "name")).collect();
        problems.add(variables::judge(items(inline, "steps"), &declared));
    }
    problems.add(unique(items(spec, "params"), |name| format!("[{name}].name")).under("params"));
    for (n, workspace) in items(spec, "workspaces").iter().enumerate() {
        problems.add(binding(workspace).within("workspaces", n));
    }
    problems.add(status(spec));
    if spec.get("retries").and_then(Value::as_i64).is_some_and(|n| n < 0) {
        problems.add(Problems::invalid(format!("{} should be >= 0", spec["retries"]), "retries"));
    }
    let timeout = text(spec, "timeout");
    match go_duration::seconds(timeout) {
        None => problems.add(Problems::invalid(timeout, "timeout")),
        Some(seconds) if seconds < 0.0 => {
            problems.add(Problems::invalid(format!("{timeout} should be >= 0"), "timeout"));
        }
        Some(_) => {}
    }
    problems
}

fn status(spec: &Value) -> Problems {
    match text(spec, "status") {
        "" if is_set(spec, "statusMessage") => Problems::invalid(
            format!(
                "statusMessage should not be set if status is not set, but it is currently set to {}",
                text(spec, "statusMessage")
            ),
            "statusMessage",
        ),
        "" | "TaskRunCancelled" | "TaskRunPending" => Problems::none(),
        other => Problems::invalid(format!("{other} should be TaskRunCancelled or TaskRunPending"), "status"),
    }
}

/// A run does not change under way: it can only be cancelled (or let go, when it was held).
fn changed(old: &Value, new: &Value) -> Problems {
    let conditions = old.pointer("/status/conditions").and_then(Value::as_array);
    let done = conditions
        .into_iter()
        .flatten()
        .any(|c| text(c, "type") == "Succeeded" && matches!(text(c, "status"), "True" | "False"));
    if done {
        return Problems::invalid("Once the TaskRun is complete, no updates are allowed", "");
    }
    let essence = |value: &Value| {
        let mut spec = value["spec"].clone();
        if let Some(map) = spec.as_object_mut() {
            map.shift_remove("status");
            map.shift_remove("statusMessage");
        }
        spec
    };
    if essence(old) == essence(new) {
        return status(&new["spec"]);
    }
    Problems::invalid("Once the TaskRun has started, only status and statusMessage updates are allowed", "")
}

fn task(spec: &Value) -> Problems {
    let mut problems = Problems::none();
    if items(spec, "steps").is_empty() {
        problems.add(Problems::missing("steps"));
    }
    let mut seen = BTreeSet::new();
    for (n, volume) in items(spec, "volumes").iter().enumerate() {
        let name = text(volume, "name");
        if !seen.insert(name) {
            let message = format!("multiple volumes with same name {name:?}");
            problems.add(Problems::of(message, &["name"]).within("volumes", n));
        }
    }
    let mut seen = BTreeSet::new();
    for (n, workspace) in items(spec, "workspaces").iter().enumerate() {
        let name = text(workspace, "name");
        if !seen.insert(name) {
            let message = format!("workspace name {name:?} must be unique");
            problems.add(Problems::of(message, &["name"]).within("workspaces", n));
        }
    }
    problems.add(steps::judge(spec).under("steps"));
    problems.add(params::judge(items(spec, "params")).under("params"));
    problems
}

fn binding(workspace: &Value) -> Problems {
    let sources = [
        "configMap",
        "csi",
        "emptyDir",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "volumeClaimTemplate",
    ];
    let given: Vec<&str> = sources.into_iter().filter(|source| workspace.get(source).is_some()).collect();
    match given.len() {
        0 => Problems::neither(&sources),
        1 => Problems::none(),
        _ => Problems::both(&given),
    }
}

/// Names that occur more than once, whatever their case.
fn unique(list: &[Value], path: impl Fn(&str) -> String) -> Problems {
    let mut seen = BTreeSet::new();
    let mut problems = Problems::none();
    for item in list {
        let name = text(item, "name");
        if !seen.insert(name.to_lowercase()) {
            problems.add(Problems::both(&[&path(name)]));
        }
    }
    problems
}
