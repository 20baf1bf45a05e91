//! What a target (the engine or a cluster) says of itself in ConfigMaps, so that a client need not ask which it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Namespace of both ConfigMaps; every client may read it.
pub const NAMESPACE: &str = "kube-public";

/// Name of tm's own ConfigMap: image parameters of the Tasks, `NAME` or `TASK.NAME`, [`REGISTRY_HOST`] and [`INGRESS_HOST`].
pub const TM_CONFIG: &str = "tm-config";

/// Key of [`TM_CONFIG`]: the registry that images are pushed to when the user names none. Comes before KEP-1755's.
pub const REGISTRY_HOST: &str = "REGISTRY_HOST";

/// Key of [`TM_CONFIG`]: `host:port` where functions answer, for clients that want to look whether anything does.
pub const INGRESS_HOST: &str = "INGRESS_HOST";

/// ConfigMap of KEP-1755: where a local registry is.
pub const REGISTRY_HOSTING: &str = "local-registry-hosting";

/// Its data key.
pub const REGISTRY_HOSTING_KEY: &str = "localRegistryHosting.v1";

/// Registry name that the engine's images carry: it stays the same whatever port the registry listens on.
pub const ENGINE_REGISTRY: &str = "tm.local";

/// The base "this machine": an image without layers.
pub const HOST_IMAGE: &str = "tm.local/host";

/// Value of [`REGISTRY_HOSTING_KEY`], a YAML text (KEP-1755 `LocalRegistryHostingV1`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryHosting {
    /// From the user's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// From pods: where builds push to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_from_cluster_network: Option<String>,
    /// From nodes: what image references say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_from_container_runtime: Option<String>,
    /// A page for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

// === impl RegistryHosting ===

impl RegistryHosting {
    /// Host to push to from a build pod. Where only `host` is given, which KEP-1755 promises nothing about in pods, it may be a
    /// name for everybody; one of the user's machine alone (`localhost`) it must not be, which is the caller's to find out.
    pub fn push_host(&self) -> Option<&str> {
        self.host_from_cluster_network.as_deref().or(self.host.as_deref())
    }

    /// Host that image references in a Service name.
    pub fn reference_host(&self) -> Option<&str> {
        self.host_from_container_runtime.as_deref().or(self.host.as_deref())
    }
}

/// Value of an image parameter of `task` in [`TM_CONFIG`]'s data: `TASK.NAME` before `NAME`.
pub fn param_override<'a>(data: &'a BTreeMap<String, String>, task: &str, name: &str) -> Option<&'a str> {
    data.get(&format!("{task}.{name}")).or_else(|| data.get(name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_s_own_value_wins() {
        let data = BTreeMap::from([("BASE_IMAGE".into(), "a".into()), ("go.BASE_IMAGE".into(), "b".into())]);
        assert_eq!(param_override(&data, "go", "BASE_IMAGE"), Some("b"));
        assert_eq!(param_override(&data, "node", "BASE_IMAGE"), Some("a"));
        assert_eq!(param_override(&data, "node", "IMAGE"), None);
    }

    #[test]
    fn hosts_fall_back() {
        let hosting = RegistryHosting { host: Some("localhost:5000".into()), ..Default::default() };
        assert_eq!(hosting.push_host(), Some("localhost:5000"));
        assert_eq!(hosting.reference_host(), Some("localhost:5000"));
    }
}
