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

/// Writes what is missing, in one go.
pub(super) async fn run(store: &Store) -> Result<(), WriteError> {
    let namespaces = NAMESPACES.iter().flat_map(|name| [namespace(name), service_account(name)]);
    let missing = namespaces.chain([node(), serving_defaults()]).filter(|(key, _)| store.get(key).is_none());
    let writes = missing.map(|(key, value)| store.put(key, value, Expect::Absent));
    futures::future::try_join_all(writes).await.map(drop)
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
        "data": {"max-revision-timeout-seconds": "910"},
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
