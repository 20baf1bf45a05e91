//! The arrows between our crates, as ARCHITECTURE.md draws them. A new arrow is a decision: change both.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Who may use whom (normal and build dependencies; tests may use anything).
const ALLOWED: &[(&str, &[&str])] = &[
    ("tm-resources", &[]),
    ("tm-lambda", &[]),
    ("tm-oci", &[]),
    ("tm-serve", &[]),
    ("runtime-shim", &["tm-lambda", "tm-serve"]),
    ("build-tasks", &["tm-oci"]),
    ("tm-engine", &["tm-resources", "tm-oci", "tm-serve"]),
    ("tm", &["tm-resources", "tm-lambda", "tm-oci", "tm-engine", "runtime-shim", "build-tasks"]),
    // Only tests use it, so it may boot whatever they need.
    ("tm-testkit", &["tm-engine", "tm-serve"]),
    ("tm-tests", &[]),
    // Brings up the cluster that tests run on; writes its images.
    ("tm-cluster", &["tm-oci"]),
];

/// Crates that must stay out of the shim: it is in every function's image and starts with every cold start.
const BANNED_IN_SHIM: &[&str] = &["kube", "reqwest", "k8s-openapi", "rustls", "axum"];

/// Metadata of the workspace for this platform: crates of other platforms need not be on this machine.
fn metadata() -> cargo_metadata::Metadata {
    let options = ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(String::from);
    MetadataCommand::new().other_options(options).exec().expect("cargo metadata answers")
}

#[test]
fn arrows_point_down() {
    let metadata = metadata();
    let ours: BTreeSet<String> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for package in metadata.workspace_packages() {
        let may = allowed
            .get(package.name.as_str())
            .unwrap_or_else(|| panic!("`{}` has no row in ALLOWED", package.name));
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if ours.contains(&dependency.name) {
                assert!(
                    may.contains(&dependency.name.as_str()),
                    "`{}` may not use `{}`",
                    package.name,
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn the_shim_stays_small() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("metadata was asked with dependencies");
    let name_of = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
    let shim = metadata
        .workspace_packages()
        .iter()
        .find(|p| p.name == "runtime-shim")
        .expect("the shim is a member")
        .id
        .clone();
    let mut seen = BTreeSet::from([shim.clone()]);
    let mut queue = vec![shim];
    while let Some(id) = queue.pop() {
        let node = resolve.nodes.iter().find(|n| n.id == id).expect("each package is a node");
        for dep in
            node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind != DependencyKind::Development))
        {
            if seen.insert(dep.pkg.clone()) {
                queue.push(dep.pkg.clone());
            }
        }
    }
    let names: BTreeSet<String> = seen.iter().map(name_of).collect();
    for banned in BANNED_IN_SHIM {
        assert!(!names.contains(*banned), "`runtime-shim` pulls in `{banned}`");
    }
}
