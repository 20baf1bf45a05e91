//! Server-side apply of manifests, wave by wave, and the wait until what they describe is there.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    api::apps::v1::Deployment,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Discovery, ResourceExt as _,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    discovery::Scope,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::manifests::Wave;

/// Owner of what is applied.
pub(crate) const FIELD_MANAGER: &str = "tm-cluster";
/// Where Knative and Tekton run.
const NAMESPACES: &[&str] = &["knative-serving", "kourier-system", "knative-eventing", "tekton-pipelines"];
/// Requests at a time.
const AT_ONCE: usize = 8;
const LOOK: Duration = Duration::from_millis(200);
const KINDS_PATIENCE: Duration = Duration::from_secs(60);

/// Applies the manifests of `wave`.
pub(crate) async fn apply(client: &Client, manifests: &[(Wave, Value)], wave: Wave) -> Result<()> {
    let discovery =
        Discovery::new(client.clone()).run().await.context("failed to ask what kinds there are")?;
    let of_wave = manifests.iter().filter(|(of, _)| *of == wave).map(|(_, manifest)| manifest);
    // A CRD that is not served yet is no kind; CRDs themselves are.
    let applied = of_wave.map(|manifest| apply_one(client, &discovery, manifest));
    stream::iter(applied).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    if wave == Wave::Kinds { kinds_are_served(client).await } else { Ok(()) }
}

async fn apply_one(client: &Client, discovery: &Discovery, manifest: &Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(manifest.clone()).context("a manifest has no name")?;
    let types = object.types.clone().context("a manifest has no kind")?;
    let what = format!("{} {}", types.kind, object.name_any());
    let kind = kube::core::GroupVersionKind::try_from(&types)?;
    let Some((resource, capabilities)) = discovery.resolve_gvk(&kind) else {
        bail!("the cluster has no kind {}/{}", types.api_version, types.kind);
    };
    let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), &namespace, &resource),
        (Scope::Namespaced, None) => Api::namespaced_with(client.clone(), "default", &resource),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&object.name_any(), &params, &Patch::Apply(manifest))
        .await
        .with_context(|| format!("failed to apply {what}"))?;
    Ok(())
}

async fn kinds_are_served(client: &Client) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let waiting = async || {
        let kinds = api.list(&ListParams::default()).await?;
        let established = |crd: &CustomResourceDefinition| {
            let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True")
        };
        Ok(kinds.iter().filter(|crd| !established(crd)).map(|crd| crd.name_any()).collect())
    };
    none_left("CRDs to be served", KINDS_PATIENCE, waiting).await
}

/// Waits until every Deployment of the cluster's own has what it wants.
pub(crate) async fn workloads_are_available(client: &Client, patience: Duration) -> Result<()> {
    none_left("Deployments to be available", patience, async || unavailable(client).await).await
}

/// The cluster's own Deployments that are not available, as `namespace/name`. What its users run is theirs.
pub(crate) async fn unavailable(client: &Client) -> Result<Vec<String>> {
    let deployments = Api::<Deployment>::all(client.clone()).list(&ListParams::default()).await?;
    let ours = |deployment: &&Deployment| {
        deployment.namespace().is_some_and(|namespace| NAMESPACES.contains(&namespace.as_str()))
    };
    let available = |deployment: &Deployment| {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        status.observed_generation >= deployment.metadata.generation
            && status.available_replicas.unwrap_or(0) >= wanted
    };
    let name = |d: &Deployment| format!("{}/{}", d.namespace().unwrap_or_default(), d.name_any());
    Ok(deployments.iter().filter(ours).filter(|d| !available(d)).map(name).collect())
}

/// Waits until `waiting` names nothing any more.
async fn none_left(
    what: &str,
    patience: Duration,
    waiting: impl AsyncFn() -> Result<Vec<String>>,
) -> Result<()> {
    let end = Instant::now() + patience;
    loop {
        let left = waiting().await?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("waited {} s for {what}, not for: {}", patience.as_secs(), left.join(", "));
        }
        sleep(LOOK).await;
    }
}
