//! The objects every cluster has: namespaces, their `default` ServiceAccount, the node.

use serde_json::{Value, json};

use super::{
    NODE_NAME,
    catalog::{self, Resource},
    object,
};
use crate::store::{Expect, Key, Store, WriteError};

/// Namespaces that are there from the start.
const NAMESPACES: &[&str] = &["default", "kube-public", "kube-system", "knative-serving", "tekton-pipelines"];

/// Setting of Knative's: longest `timeoutSeconds`.
const MAX_TIMEOUT: &str = "max-revision-timeout-seconds";

/// Writes what is missing, in one go.
pub(super) async fn run(store: &Store) -> Result<(), WriteError> {
    let namespaces = NAMESPACES.iter().flat_map(|name| [namespace(name), service_account(name)]);
    let missing = namespaces.chain([node(), serving_defaults()]).filter(|(key, _)| store.get(key).is_none());
    let writes = missing.map(|(key, value)| store.put(key, value, Expect::Absent));
    futures::future::try_join_all(writes).await?;
    raise_limit(store).await
}

/// An engine before this one wrote a limit that is too low by some seconds. What somebody else set is left alone.
async fn raise_limit(store: &Store) -> Result<(), WriteError> {
    let (key, wanted) = serving_defaults();
    let Some(there) = store.get(&key) else { return Ok(()) };
    let mut value = there.value();
    if value["data"] != json!({MAX_TIMEOUT: "900"}) {
        return Ok(());
    }
    value["data"] = wanted["data"].clone();
    store.put(key, value, Expect::Revision(there.revision())).await.map(drop)
}

/// The `default` ServiceAccount that each namespace has.
pub(super) fn service_account(namespace: &str) -> (Key, Value) {
    let value = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    });
    finish(served("v1", "ServiceAccount"), value)
}

fn namespace(name: &str) -> (Key, Value) {
    let value = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    });
    finish(served("v1", "Namespace"), value)
}

/// Functions may run as long as on Lambda, 15 minutes, and clients want some seconds more for the answer.
fn serving_defaults() -> (Key, Value) {
    let value = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "config-defaults", "namespace": "knative-serving"},
        "data": {MAX_TIMEOUT: "910"},
    });
    finish(served("v1", "ConfigMap"), value)
}

fn node() -> (Key, Value) {
    let now = object::now();
    let value = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NODE_NAME, "labels": {
            "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": std::env::consts::OS,
            "kubernetes.io/arch": std::env::consts::ARCH,
        }},
        "spec": {},
        "status": {
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "EngineReady", "message": "the engine is running",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": NODE_NAME}],
            "nodeInfo": {"kubeletVersion": concat!("tm-", env!("CARGO_PKG_VERSION")),
                "operatingSystem": std::env::consts::OS, "architecture": std::env::consts::ARCH},
        },
    });
    finish(served("v1", "Node"), value)
}

fn served(api_version: &str, kind: &str) -> &'static Resource {
    catalog::find_kind(api_version, kind).expect("the catalog has the core kinds")
}

fn finish(resource: &Resource, mut value: Value) -> (Key, Value) {
    let key = Key::new(resource.qualified(), object::namespace(&value), object::name(&value));
    let metadata = object::metadata_mut(&mut value);
    metadata.insert("uid".into(), object::new_uid().into());
    metadata.insert("creationTimestamp".into(), object::now().into());
    (key, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_limit_of_an_engine_before_is_raised_and_that_of_others_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.redb")).unwrap();
        let (key, mut value) = serving_defaults();
        let limit = || store.get(&key).unwrap().value()["data"][MAX_TIMEOUT].clone();
        value["data"] = json!({MAX_TIMEOUT: "900"});
        let there = store.put(key.clone(), value.clone(), Expect::Absent).await.unwrap();
        run(&store).await.unwrap();
        assert_eq!(limit(), "910");
        value["data"] = json!({MAX_TIMEOUT: "60"});
        let revision = store.get(&key).unwrap().revision();
        assert!(revision > there.revision());
        store.put(key.clone(), value, Expect::Revision(revision)).await.unwrap();
        run(&store).await.unwrap();
        assert_eq!(limit(), "60");
    }
}
