//! What a target says of itself in namespace `kube-public`: image parameters, and where its registry is.
//!
//! Whoever may not read it, or finds nothing there, goes on with the defaults.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tm_resources::target::{NAMESPACE, REGISTRY_HOSTING, REGISTRY_HOSTING_KEY, RegistryHosting, TM_CONFIG};

/// tm's own settings: `NAME` or `TASK.NAME`, see [`tm_resources::target`].
///
/// # Errors
/// When the API server does not answer.
pub(crate) async fn settings(client: &Client) -> Result<BTreeMap<String, String>> {
    let map =
        config_map(client, NAMESPACE, TM_CONFIG).await.context("failed to read the target's settings")?;
    Ok(map.and_then(|map| map.data).unwrap_or_default())
}

/// KEP-1755's registry.
///
/// # Errors
/// When the API server does not answer or the ConfigMap does not hold what it should.
pub(crate) async fn registry_hosting(client: &Client) -> Result<RegistryHosting> {
    let map = config_map(client, NAMESPACE, REGISTRY_HOSTING)
        .await
        .context("failed to ask for the target's registry")?;
    match map.and_then(|map| map.data?.remove(REGISTRY_HOSTING_KEY)) {
        None => Ok(RegistryHosting::default()),
        Some(text) => serde_saphyr::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| format!("failed to read ConfigMap {NAMESPACE}/{REGISTRY_HOSTING}")),
    }
}

/// A ConfigMap that is optional for us: `None` when it is not there or not ours to read.
///
/// # Errors
/// When the API server does not answer.
pub(crate) async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<ConfigMap>, kube::Error> {
    match Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        other => other,
    }
}
