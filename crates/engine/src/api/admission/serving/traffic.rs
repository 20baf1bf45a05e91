//! Traffic targets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Problems, is_set, text};
use crate::api::names;

/// What is wrong with a list of targets. In a Service the configuration is known, and must not be named.
pub(super) fn judge(targets: &[Value], in_service: bool) -> Problems {
    let mut problems = Problems::none();
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sum = 0;
    for (n, target) in targets.iter().enumerate() {
        problems.add(one(target, in_service).at(n));
        sum += target.get("percent").and_then(Value::as_i64).unwrap_or(0);
        let tag = text(target, "tag");
        if tag.is_empty() {
            continue;
        }
        let wrong = names::label_1035(tag);
        if !wrong.is_empty() {
            let why = format!("not a DNS 1035 label: [{}]", wrong.join(" "));
            problems.add(Problems::invalid(why, "tag").at(n));
        }
        if let Some(first) = tags.get(tag) {
            let paths = [format!("[{n}].tag"), format!("[{first}].tag")];
            let message = format!("Multiple definitions for {tag:?}");
            problems.add(Problems::of(message, &[&paths[0], &paths[1]]));
        } else {
            tags.insert(tag, n);
        }
    }
    if sum != 100 {
        problems.add(Problems::of(format!("Traffic targets sum to {sum}, want 100"), &[""]));
    }
    problems
}

fn one(target: &Value, in_service: bool) -> Problems {
    let (revision, configuration) = (text(target, "revisionName"), text(target, "configurationName"));
    let mut problems = Problems::none();
    if let Some(latest) = target.get("latestRevision").and_then(Value::as_bool)
        && latest != revision.is_empty()
    {
        let message = format!("may not set revisionName {revision:?} when latestRevision is {latest}");
        problems.add(Problems::of(message, &["latestRevision"]));
    }
    if in_service && !configuration.is_empty() {
        problems.add(Problems::disallowed("configurationName"));
    } else if !revision.is_empty() && !configuration.is_empty() {
        problems.add(Problems::both(&["configurationName", "revisionName"]));
    } else if !in_service && revision.is_empty() && configuration.is_empty() {
        problems.add(Problems::neither(&["configurationName", "revisionName"]));
    }
    if !revision.is_empty() && !names::qualified_name(revision).is_empty() {
        problems.add(Problems::bad_key(revision, "revisionName"));
    }
    if let Some(percent) = target.get("percent").and_then(Value::as_i64)
        && !(0..=100).contains(&percent)
    {
        problems.add(Problems::out_of_bounds(percent, 0, 100, "percent"));
    }
    if is_set(target, "url") {
        problems.add(Problems::disallowed("url"));
    }
    problems
}
