//! Volumes of a revision, and where they are mounted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Problems, is_set, items, text};
use crate::api::names;

const ALLOWED: &[&str] = &["secret", "configMap", "projected", "emptyDir"];
const FLAGGED: &[&str] = &["csi", "ephemeral", "hostPath", "image"];
const RESERVED_PATHS: &[&str] = &["/", "/dev", "/dev/log"];

/// What is wrong with the volumes.
pub(super) fn judge(volumes: &[Value], containers: &[Value]) -> Problems {
    let mounted: BTreeSet<&str> =
        containers.iter().flat_map(|c| items(c, "volumeMounts")).map(|mount| text(mount, "name")).collect();
    let mut seen = BTreeSet::new();
    let mut problems = Problems::none();
    for (n, volume) in volumes.iter().enumerate() {
        let name = text(volume, "name");
        if !seen.insert(name) {
            problems.add(Problems::of(format!("duplicate volume name {name:?}"), &["name"]).at(n));
        }
        if !mounted.contains(name) {
            problems.add(Problems::of(format!("volume with name {name:?} not mounted"), &["name"]).at(n));
        }
        problems.add(one(volume).at(n));
    }
    problems
}

fn one(volume: &Value) -> Problems {
    let name = text(volume, "name");
    let mut problems = Problems::none();
    if name.is_empty() {
        problems.add(Problems::missing("name"));
    } else if !names::label(name).is_empty() {
        problems.add(Problems::invalid(name, "name"));
    }
    for field in FLAGGED.iter().filter(|field| volume.get(field).is_some()) {
        problems.add(Problems::disallowed(field));
    }
    if let Some(claim) = volume.get("persistentVolumeClaim") {
        let name = text(claim, "claimName");
        let message =
            format!("Persistent volume claim support is disabled, but found persistent volume claim {name}");
        problems.add(Problems::of(message, &[]));
        return problems;
    }
    let given: Vec<&str> = ALLOWED.iter().copied().filter(|field| volume.get(field).is_some()).collect();
    match given.len() {
        0 => problems.add(Problems::neither(ALLOWED)),
        1 => {}
        _ => problems.add(Problems::both(&given)),
    }
    let medium = text(&volume["emptyDir"], "medium");
    if !matches!(medium, "" | "Memory") {
        problems.add(Problems::invalid(medium, "emptyDir.medium"));
    }
    problems
}

/// What is wrong with a container's mounts.
pub(super) fn judge_mounts(mounts: &[Value], volumes: &[Value]) -> Problems {
    let mut seen = BTreeSet::new();
    let mut problems = Problems::none();
    for (n, mount) in mounts.iter().enumerate() {
        let volume = volumes.iter().find(|volume| text(volume, "name") == text(mount, "name"));
        if volume.is_none() {
            problems.add(Problems::of("volumeMount has no matching volume", &["name"]).at(n));
        }
        let path = text(mount, "mountPath");
        let clean = clean(path);
        problems.add(
            match path {
                "" => Problems::missing("mountPath"),
                _ if RESERVED_PATHS.contains(&clean.as_str()) => {
                    Problems::of(format!("mountPath {clean:?} is a reserved path"), &["mountPath"])
                }
                relative if !relative.starts_with('/') => Problems::invalid(relative, "mountPath"),
                _ if seen.contains(&clean) => {
                    Problems::invalid(format!("{path:?} must be unique"), "mountPath")
                }
                _ => Problems::none(),
            }
            .at(n),
        );
        seen.insert(clean);
        let writable =
            volume.is_some_and(|v| v.get("emptyDir").is_some() || v.get("persistentVolumeClaim").is_some());
        if !writable && !is_set(mount, "readOnly") {
            let message = "volume mount should be readOnly for this type of volume";
            problems.add(Problems::of(message, &["readOnly"]).at(n));
        }
    }
    problems
}

/// The path without empty and dot parts.
fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}
