//! Names, labels and annotations of Serving's kinds.

use serde_json::Value;
use tm_resources::labels::networking::{CLUSTER_LOCAL, VISIBILITY};

use super::{Problems, text};
use crate::{api::names, go_duration};

const GROUP: &str = "serving.knative.dev/";
const AUTOSCALING: &str = "autoscaling.knative.dev";
const ROLLOUT: [&str; 2] = ["serving.knative.dev/rollout-duration", "serving.knative.dev/rolloutDuration"];
/// Labels that controllers put on what they make.
const OWN_LABELS: &[&str] = &[
    "serving.knative.dev/service",
    "serving.knative.dev/configuration",
    "serving.knative.dev/route",
    "serving.knative.dev/routingState",
    "serving.knative.dev/configurationUID",
    "serving.knative.dev/serviceUID",
    "serving.knative.dev/revisionUID",
    "serving.knative.dev/configurationGeneration",
];

/// What is wrong with an object's metadata.
pub(super) fn judge(kind: &str, value: &Value) -> Problems {
    let metadata = &value["metadata"];
    let mut problems = name(text(metadata, "name"));
    let labels = metadata["labels"].as_object().into_iter().flatten();
    for (key, value) in labels {
        let value = value.as_str().unwrap_or_default();
        if key == VISIBILITY && value != CLUSTER_LOCAL && kind != "Revision" {
            problems.add(Problems::invalid(value, VISIBILITY).under("labels"));
        } else if key.starts_with(GROUP) && (kind == "Service" || !OWN_LABELS.contains(&key.as_str())) {
            problems.add(Problems::bad_key(key, "labels"));
        }
    }
    if kind != "Revision" {
        problems.add(annotations(metadata).under("annotations"));
    }
    problems
}

fn name(name: &str) -> Problems {
    let wrong = names::label_1035(name);
    if wrong.is_empty() {
        return Problems::none();
    }
    Problems::invalid(format!("not a DNS 1035 label prefix: [{}]", wrong.join(" ")), "name")
}

fn annotations(metadata: &Value) -> Problems {
    let mut problems = Problems::none();
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        if key.starts_with(AUTOSCALING) {
            let details =
                "autoscaling annotations must be put under \"spec.template.metadata.annotations\" to work";
            problems.add(Problems::bad_key(key, "").because(details));
        }
        if ROLLOUT.contains(&key.as_str()) {
            problems.add(rollout(key, value.as_str().unwrap_or_default()));
        }
    }
    problems
}

fn rollout(key: &str, value: &str) -> Problems {
    match go_duration::seconds(value) {
        None => Problems::invalid(value, key),
        Some(seconds) if seconds.fract() != 0.0 => {
            Problems::of(format!("rollout-duration={value} is not at second precision"), &[key])
        }
        Some(seconds) if seconds < 0.0 => {
            Problems::of(format!("rollout-duration={value} must be positive"), &[key])
        }
        Some(_) => Problems::none(),
    }
}

/// A revision's own name begins with its parent's.
pub(super) fn revision_name(parent: &Value, template: &Value) -> Problems {
    let own = text(template, "name");
    if own.is_empty() {
        return Problems::none();
    }
    let wrong = names::label_1035(own);
    if !wrong.is_empty() {
        return Problems::invalid(format!("not a DNS 1035 label: [{}]", wrong.join(" ")), "metadata.name");
    }
    let prefix = format!("{}-", text(&parent["metadata"], "name"));
    if own.starts_with(&prefix) {
        return Problems::none();
    }
    Problems::invalid(format!("{own:?} must have prefix {prefix:?}"), "metadata.name")
}
