//! The ConfigMap `kube-public/tm-config`: what is there, whose it is, and what it becomes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    core::v1::ConfigMap,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::{ResourceExt, api::ObjectMeta};
use tm_resources::target::{NAMESPACE, REGISTRY_HOSTING, TM_CONFIG};

use crate::error::UsageError;

/// Field manager of what `tm setup` applies.
pub(super) const FIELD_MANAGER: &str = "tm-setup";
/// Role and RoleBinding that let everybody who is logged in read the settings.
const READER: &str = "tm:settings-reader";

/// The settings as they were, split by who made them.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Made by an earlier `tm setup`.
    pub(super) ours: BTreeMap<String, String>,
    /// Made by somebody else.
    pub(super) foreign: BTreeMap<String, String>,
}

// === impl Before ===

impl Before {
    /// Splits the data by the managed fields.
    pub(super) fn of(map: Option<&ConfigMap>) -> Self {
        let Some(map) = map else { return Self::default() };
        let managed = managed_keys(map);
        let data = map.data.clone().unwrap_or_default();
        let (ours, foreign) = data.into_iter().partition(|(key, _)| managed.contains(key));
        Self { ours, foreign }
    }
}

fn managed_keys(map: &ConfigMap) -> BTreeSet<String> {
    let ours = map.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let fields = ours.filter_map(|entry| entry.fields_v1.as_ref()?.0.get("f:data")?.as_object());
    fields.flat_map(|data| data.keys().filter_map(|key| key.strip_prefix("f:"))).map(str::to_owned).collect()
}

/// `--image` values by key; `None` takes one away.
pub(super) fn typed(images: &[String]) -> Result<BTreeMap<String, Option<String>>, UsageError> {
    let one = |text: &String| {
        let wrong = || UsageError(format!("--image takes [TASK.]PARAM=IMAGE, not `{text}`"));
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let sound = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if key.split('.').count() > 2 || !key.split('.').all(sound) {
            return Err(wrong());
        }
        let value = match value {
            "" => None,
            value => {
                value
                    .parse::<tm_oci::Reference>()
                    .map_err(|error| UsageError(format!("--image {key}: {error}")))?;
                Some(value.to_owned())
            }
        };
        Ok((key.to_owned(), value))
    };
    images.iter().map(one).collect()
}

/// The ConfigMap to apply: an empty one, too, where an earlier run's settings are to be taken away.
pub(super) fn config_map(data: BTreeMap<String, String>, before: &Before) -> Option<ConfigMap> {
    let says_something = !data.is_empty() || !before.ours.is_empty();
    says_something.then(|| ConfigMap {
        metadata: metadata(TM_CONFIG),
        data: Some(data),
        ..ConfigMap::default()
    })
}

/// Lets everybody who is logged in read the settings and the registry's address.
pub(super) fn reader() -> (Role, RoleBinding) {
    let rule = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["configmaps".into()]),
        resource_names: Some(vec![TM_CONFIG.into(), REGISTRY_HOSTING.into()]),
        verbs: vec!["get".into()],
        ..PolicyRule::default()
    };
    let everybody = Subject {
        api_group: Some("rbac.authorization.k8s.io".into()),
        kind: "Group".into(),
        name: "system:authenticated".into(),
        namespace: None,
    };
    let role_ref =
        RoleRef { api_group: "rbac.authorization.k8s.io".into(), kind: "Role".into(), name: READER.into() };
    (
        Role { metadata: metadata(READER), rules: Some(vec![rule]) },
        RoleBinding { metadata: metadata(READER), role_ref, subjects: Some(vec![everybody]) },
    )
}

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), namespace: Some(NAMESPACE.into()), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managed_fields_say_whose_a_setting_is() {
        let map = json!({
            "metadata": {"name": "tm-config", "managedFields": [
                {"manager": "tm-setup", "operation": "Apply", "fieldsType": "FieldsV1", "apiVersion": "v1",
                 "fieldsV1": {"f:data": {"f:BUILDER_IMAGE": {}}}},
                {"manager": "someone", "operation": "Update", "fieldsType": "FieldsV1", "apiVersion": "v1",
                 "fieldsV1": {"f:data": {"f:go.BASE_IMAGE": {}}}}]},
            "data": {"BUILDER_IMAGE": "a", "go.BASE_IMAGE": "b"}
        });
        let map: ConfigMap = serde_json::from_value(map).expect("it is one");
        let before = Before::of(Some(&map));
        assert_eq!(before.ours, BTreeMap::from([("BUILDER_IMAGE".into(), "a".into())]));
        assert_eq!(before.foreign, BTreeMap::from([("go.BASE_IMAGE".into(), "b".into())]));
    }

    #[test]
    fn typed_images() {
        let ok =
            typed(&["python.BASE_IMAGE=a.io/b:1".into(), "BUILD_IMAGE=".into()]).expect("they are sound");
        assert_eq!(ok["python.BASE_IMAGE"].as_deref(), Some("a.io/b:1"));
        assert_eq!(ok["BUILD_IMAGE"], None);
        for bad in ["BASE_IMAGE", "=a", "a.b.c=d", "A=UPPER/case", "a b=c"] {
            assert!(typed(&[bad.into()]).is_err(), "{bad}");
        }
    }
}
