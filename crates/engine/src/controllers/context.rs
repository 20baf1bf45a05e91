//! What every controller has, and small helpers around status and ownership.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tm_resources::Condition;

use super::{Pings, ReconcileError};
use crate::{autoscaler::Autoscaler, events::Recorder, runner::image::ImageStore};

/// Field manager of the controllers' writes.
const MANAGER: &str = "tm-engine";
/// Domain of addresses inside a cluster.
const LOCAL: &str = "svc.cluster.local";

/// What a controller needs besides the object it looks at.
pub struct Context {
    /// The API.
    pub client: Client,
    /// Resolves and reads images.
    pub images: Arc<ImageStore>,
    /// Says how many pods a Revision should have.
    pub autoscaler: Arc<Autoscaler>,
    /// Takes what users want to know.
    pub events: Recorder,
    /// What addresses of functions look like.
    pub domain: Domain,
    /// The PingSources that run.
    pub(crate) pings: Pings,
    /// When this engine began: deadlines do not run while there is none.
    pub began: Timestamp,
}

/// A Revision by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevisionRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Host names of functions: `NAME.NAMESPACE.DOMAIN[:PORT]`.
#[derive(Clone, Debug)]
pub struct Domain {
    /// The domain (`localhost`).
    pub name: String,
    /// The ingress' port; 80 is left out of addresses.
    pub port: u16,
}

// === impl Domain ===

impl Domain {
    /// Address of a Route, or of a tag of it (Knative's default templates).
    pub fn url(&self, tag: Option<&str>, name: &str, namespace: &str) -> String {
        self.under(&self.name, tag, name, namespace)
    }

    /// The same address inside a cluster.
    pub fn local_url(&self, tag: Option<&str>, name: &str, namespace: &str) -> String {
        self.under(LOCAL, tag, name, namespace)
    }

    fn under(&self, domain: &str, tag: Option<&str>, name: &str, namespace: &str) -> String {
        let host = tag.map_or_else(|| name.to_owned(), |tag| format!("{tag}-{name}"));
        let port = if self.port == 80 { String::new() } else { format!(":{}", self.port) };
        format!("http://{host}.{namespace}.{domain}{port}")
    }

    /// Whether a host name is a function's, here or inside a cluster. `NAME.NAMESPACE` alone may be anybody's.
    pub fn has(&self, host: &str) -> bool {
        let ours = host.strip_suffix(&self.name).is_some_and(|rest| rest.ends_with('.'));
        ours || short(host).is_some()
    }
}

/// Whether a host name, port or not, is one that only a cluster's inside knows: `NAME.NAMESPACE`, with `.svc` or
/// `.svc.cluster.local` or without.
pub(crate) fn is_local(host: &str) -> bool {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    short(host).unwrap_or(host).split('.').count() == 2
}

/// What stands before a cluster's domain.
fn short(host: &str) -> Option<&str> {
    [LOCAL, "svc"].iter().find_map(|domain| host.strip_suffix(domain)?.strip_suffix('.'))
}

// === impl Context ===

impl Context {
    /// The API of a kind in the namespace of `object`.
    pub(super) fn beside<K>(&self, object: &impl ResourceExt) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    /// Writes the status if it differs from `old` in more than transition times.
    pub(super) async fn write_status<K, S>(
        &self,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<(), ReconcileError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + ResourceExt,
        K::DynamicType: Default,
        S: Serialize,
    {
        let old = old.map(serde_json::to_value).transpose()?.unwrap_or(Value::Null);
        let mut new = serde_json::to_value(new)?;
        keep_transition_times(&old, &mut new);
        if old == new {
            return Ok(());
        }
        remove_absent(&old, &mut new);
        let api: Api<K> = self.beside(object);
        let patch = json!({"metadata": {"resourceVersion": object.resource_version()}, "status": new});
        api.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Server-side apply of an object a controller owns.
    pub(super) async fn apply<K>(&self, object: &K) -> Result<K, ReconcileError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize
            + ResourceExt,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.beside(object);
        let params = PatchParams::apply(MANAGER).force();
        Ok(api.patch(&object.name_any(), &params, &Patch::Apply(object)).await?)
    }
}

/// A reference that makes `owner` the controller of an object.
pub(super) fn owned_by<K: Resource<DynamicType = ()>>(owner: &K) -> Vec<OwnerReference> {
    owner.controller_owner_ref(&()).into_iter().collect()
}

/// Makes `new` a merge patch from `old`: what is in the old one only must be named to go (RFC 7396).
fn remove_absent(old: &Value, new: &mut Value) {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object_mut()) else { return };
    for (key, before) in old {
        match new.get_mut(key) {
            Some(after) => remove_absent(before, after),
            None => drop(new.insert(key.clone(), Value::Null)),
        }
    }
}

/// Takes the times of conditions whose status did not change from the old status; stamps the others with now.
fn keep_transition_times(old: &Value, new: &mut Value) {
    let before: Vec<Condition> =
        old.get("conditions").cloned().and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
    let Some(list) = new.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    let now = format!("{:.0}", Timestamp::now());
    for condition in list {
        let type_ = condition["type"].as_str().unwrap_or_default();
        let same = before
            .iter()
            .find(|old| old.type_ == type_)
            .filter(|old| serde_json::to_value(old.status).is_ok_and(|status| status == condition["status"]));
        let time = same.and_then(|old| old.last_transition_time.clone()).unwrap_or_else(|| now.clone());
        condition["lastTransitionTime"] = time.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let domain = Domain { name: "localhost".into(), port: 3000 };
        assert_eq!(domain.url(None, "hello", "default"), "http://hello.default.localhost:3000");
        assert_eq!(domain.url(Some("v1"), "hello", "ns"), "http://v1-hello.ns.localhost:3000");
        let domain = Domain { port: 80, ..domain };
        assert_eq!(domain.url(None, "hello", "default"), "http://hello.default.localhost");
        for (host, ours) in [
            ("a.ns.localhost", true),
            ("a.ns.svc.cluster.local", true),
            ("a.ns.svc", true),
            ("localhost", false),
            ("a.ns.xlocalhost", false),
            ("a.ns.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(domain.has(host), ours, "{host}");
        }
    }

    #[test]
    fn what_a_new_status_lacks_is_removed() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]});
        let mut new = json!({"b": {"c": 3}, "e": []});
        remove_absent(&old, &mut new);
        assert_eq!(new, json!({"a": null, "b": {"c": 3, "d": null}, "e": []}));
    }

    #[test]
    fn times_change_with_the_status_only() {
        let old = json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "T0"}]});
        let mut same = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        keep_transition_times(&old, &mut same);
        assert_eq!(same["conditions"][0]["lastTransitionTime"], "T0");
        let mut other = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        keep_transition_times(&old, &mut other);
        assert_ne!(other["conditions"][0]["lastTransitionTime"], "T0");
    }
}
