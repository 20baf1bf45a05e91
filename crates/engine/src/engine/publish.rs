//! What the engine says of itself in the API, where clients look for it on any target.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams},
};
use serde_json::json;
use tm_resources::labels::tm::ISOLATION;
use tm_resources::target::{
    ENGINE_REGISTRY, INGRESS_HOST, NAMESPACE, REGISTRY_HOSTING, REGISTRY_HOSTING_KEY, TM_CONFIG,
};

use super::lock::Running;
use crate::api::NODE_NAME;

/// Namespace and name of Knative's domain settings.
const DOMAIN: (&str, &str) = ("knative-serving", "config-domain");

/// Writes the ConfigMaps; `images` are parameters of the Tasks by name.
pub(super) async fn write(
    client: &Client,
    running: &Running,
    domain: &str,
    images: BTreeMap<String, String>,
    isolation: &str,
) -> Result<(), kube::Error> {
    let hosting = format!(
        "host: \"{address}\"\nhostFromClusterNetwork: \"{address}\"\nhostFromContainerRuntime: \"{ENGINE_REGISTRY}\"\n",
        address = running.registry,
    );
    let ingress = (INGRESS_HOST.to_owned(), running.functions.to_string());
    // Together: one transaction of the store.
    tokio::try_join!(
        apply(client, NAMESPACE, REGISTRY_HOSTING, [(REGISTRY_HOSTING_KEY.to_owned(), hosting)]),
        apply(client, NAMESPACE, TM_CONFIG, images.into_iter().chain([ingress])),
        apply(client, DOMAIN.0, DOMAIN.1, [(domain.to_owned(), String::new())]),
        mark_node(client, isolation),
    )
    .map(drop)
}

/// Says on the node how it keeps containers apart: pods that are not there yet cannot.
async fn mark_node(client: &Client, isolation: &str) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"annotations": {ISOLATION: isolation}}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch(NODE_NAME, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
}

async fn apply(
    client: &Client,
    namespace: &str,
    name: &str,
    data: impl IntoIterator<Item = (String, String)>,
) -> Result<(), kube::Error> {
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().collect::<BTreeMap<_, _>>()),
        ..ConfigMap::default()
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    api.patch(name, &PatchParams::apply("tm-engine").force(), &Patch::Apply(&map)).await.map(drop)
}
