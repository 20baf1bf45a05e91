//! Defaults of revision templates and traffic.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{is_set, items};
use crate::api::object;

/// Whole-request limit in seconds.
const TIMEOUT: i64 = 300;
/// Name of a container that has none.
const CONTAINER: &str = "user-container";

/// Defaults of `spec.template`.
pub(super) fn template(spec: &mut Map<String, Value>, creating: bool) {
    if let Some(template) = spec.get_mut("template").filter(|t| t.is_object()) {
        revision(object::child_mut(template, "spec"), creating);
    }
}

/// Defaults of a revision's specification.
pub(super) fn revision(spec: &mut Map<String, Value>, creating: bool) {
    if spec.get("timeoutSeconds").and_then(Value::as_i64).unwrap_or(0) == 0 {
        spec.insert("timeoutSeconds".into(), json!(TIMEOUT));
    }
    spec.entry("containerConcurrency").or_insert_with(|| json!(0));
    let writable = writable_volumes(spec);
    let Some(Value::Array(containers)) = spec.get_mut("containers") else { return };
    names(containers);
    let alone = containers.len() == 1;
    for container in containers.iter_mut().filter(|c| c.is_object()) {
        if alone || is_set(container, "ports") {
            probe(container);
        }
        object::child_mut(container, "resources");
        read_only_mounts(container, &writable);
    }
    if creating && !containers.is_empty() {
        spec.entry("enableServiceLinks").or_insert(Value::Bool(false));
    }
}

/// Traffic without an entry goes to the latest revision (of the Configuration with the Route's name).
pub(super) fn traffic(spec: &mut Map<String, Value>, route: Option<&str>) {
    let list = spec.entry("traffic").or_insert_with(|| json!([]));
    let Value::Array(list) = list else { return };
    if list.is_empty() {
        let mut all = json!({"latestRevision": true, "percent": 100});
        if let Some(name) = route {
            all["configurationName"] = name.into();
        }
        list.push(all);
    }
    for target in list.iter_mut().filter(|target| target.is_object()) {
        let latest = !is_set(target, "revisionName");
        if target.get("latestRevision").is_none() {
            target["latestRevision"] = latest.into();
        }
    }
}

fn names(containers: &mut [Value]) {
    let mut taken: BTreeSet<String> =
        containers.iter().map(|c| super::text(c, "name").to_owned()).filter(|n| !n.is_empty()).collect();
    let several = containers.len() > 1;
    let mut next = 0;
    for container in containers.iter_mut().filter(|c| c.is_object() && !is_set(c, "name")) {
        let mut name = CONTAINER.to_owned();
        while several && name == CONTAINER || taken.contains(&name) {
            name = format!("{CONTAINER}-{next}");
            next += 1;
        }
        taken.insert(name.clone());
        container["name"] = name.into();
    }
}

/// A container is ready when its port takes connections, unless it says otherwise.
fn probe(container: &mut Value) {
    let probe = object::child_mut(container, "readinessProbe");
    if !["tcpSocket", "httpGet", "exec", "grpc"].iter().any(|handler| probe.contains_key(*handler)) {
        probe.insert("tcpSocket".into(), json!({"port": 0}));
    }
    let zero =
        |probe: &Map<String, Value>, field: &str| probe.get(field).and_then(Value::as_i64).unwrap_or(0) == 0;
    if zero(probe, "successThreshold") {
        probe.insert("successThreshold".into(), json!(1));
    }
    if !zero(probe, "periodSeconds") {
        if zero(probe, "failureThreshold") {
            probe.insert("failureThreshold".into(), json!(3));
        }
        if zero(probe, "timeoutSeconds") {
            probe.insert("timeoutSeconds".into(), json!(1));
        }
    }
}

fn writable_volumes(spec: &Map<String, Value>) -> BTreeSet<String> {
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let writable =
        volumes.filter(|v| v.get("emptyDir").is_some() || v.get("persistentVolumeClaim").is_some());
    writable.map(|v| super::text(v, "name").to_owned()).collect()
}

fn read_only_mounts(container: &mut Value, writable: &BTreeSet<String>) {
    if items(container, "volumeMounts").is_empty() {
        return;
    }
    for mount in container["volumeMounts"].as_array_mut().into_iter().flatten() {
        if mount.is_object() && !writable.contains(super::text(mount, "name")) {
            mount["readOnly"] = Value::Bool(true);
        }
    }
}
