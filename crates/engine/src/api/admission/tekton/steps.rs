//! Steps of a Task.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Problems, is_set, items, text};
use crate::api::names;

/// What a step with a `ref` takes from the StepAction.
const FROM_REF: &[&str] = &["image", "command", "args", "script", "env", "volumeMounts", "results"];
/// What the webhook says of features that are off by default.
const ALPHA: &str = "requires \"enable-api-fields\" feature gate to be \"alpha\" but it is \"beta\"";
const BAD_NAME: &str = "Task step name must be a valid DNS Label, For more info refer to \
     https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#names";

/// What is wrong with the steps of a Task's specification.
pub(super) fn judge(spec: &Value) -> Problems {
    let mut seen = BTreeSet::new();
    let mut problems = Problems::none();
    let image = is_set(&spec["stepTemplate"], "image");
    for (n, step) in items(spec, "steps").iter().enumerate() {
        problems.add(one(step, image).at(n));
        let name = text(step, "name");
        if !name.is_empty() && !seen.insert(name) {
            problems.add(Problems::invalid(name, "name").at(n));
        }
    }
    problems
}

fn one(step: &Value, image_of_template: bool) -> Problems {
    let mut problems = if is_set(step, "ref") { with_ref(step) } else { plain(step, image_of_template) };
    let name = text(step, "name");
    if !name.is_empty() && !names::label(name).is_empty() {
        problems.add(Problems::of(format!("invalid value {name:?}"), &["name"]).because(BAD_NAME));
    }
    for (n, mount) in items(step, "volumeMounts").iter().enumerate() {
        problems.add(one_mount(mount).within("volumeMounts", n));
    }
    for (field, stream) in [("stdoutConfig", "stdout"), ("stderrConfig", "stderr")] {
        if is_set(step, field) {
            let message = format!("step {stream} stream support {ALPHA}");
            problems.add(Problems::of(message, &[]));
        }
    }
    let on_error = text(step, "onError");
    if !matches!(on_error, "" | "continue" | "stopAndFail") && !on_error.contains("$(params.") {
        problems.add(
            Problems::of(format!("invalid value: \"{on_error}\""), &["onError"])
                .because("Task step onError must be either \"continue\" or \"stopAndFail\""),
        );
    }
    problems
}

fn with_ref(step: &Value) -> Problems {
    let mut problems = Problems::none();
    for field in FROM_REF.iter().filter(|field| is_set(step, field)) {
        problems.add(Problems::of(format!("{field} cannot be used with Ref"), &[field]));
    }
    problems
}

fn plain(step: &Value, image_of_template: bool) -> Problems {
    let mut problems = Problems::none();
    if is_set(step, "params") {
        problems.add(Problems::of("params cannot be used without Ref", &["params"]));
    }
    if !is_set(step, "image") && !image_of_template {
        problems.add(Problems::missing("Image"));
    }
    if is_set(step, "script") && is_set(step, "command") {
        problems.add(Problems::of("script cannot be used with command", &["script"]));
    }
    problems
}

fn one_mount(mount: &Value) -> Problems {
    let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
    let mut problems = Problems::none();
    if path.starts_with("/tekton/") && !path.starts_with("/tekton/home") {
        let message = format!(
            "volumeMount cannot be mounted under /tekton/ (volumeMount {name:?} mounted at {path:?})"
        );
        problems.add(Problems::of(message, &["mountPath"]));
    }
    if name.starts_with("tekton-internal-") {
        let message = format!("volumeMount name {name:?} cannot start with \"tekton-internal-\"");
        problems.add(Problems::of(message, &["name"]));
    }
    problems
}
