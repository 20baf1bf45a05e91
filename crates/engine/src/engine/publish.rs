//! What the engine says of itself in the API, where clients look for it on any target.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams},
};
use tm_resources::target::{ENGINE_REGISTRY, NAMESPACE, REGISTRY_HOSTING, REGISTRY_HOSTING_KEY, TM_CONFIG};

use super::lock::Running;

/// Namespace and name of Knative's domain settings.
const DOMAIN: (&str, &str) = ("knative-serving", "config-domain");

/// Writes the ConfigMaps; `images` are parameters of the Tasks by name.
pub(super) async fn write(
    client: &Client,
    running: &Running,
    domain: &str,
    images: BTreeMap<String, String>,
) -> Result<(), kube::Error> {
    let hosting = format!(
        "host: \"{address}\"\nhostFromClusterNetwork: \"{address}\"\nhostFromContainerRuntime: \"{ENGINE_REGISTRY}\"\n",
        address = running.registry,
    );
    // Together: one transaction of the store.
    tokio::try_join!(
        apply(client, NAMESPACE, REGISTRY_HOSTING, [(REGISTRY_HOSTING_KEY.to_owned(), hosting)]),
        apply(client, NAMESPACE, TM_CONFIG, images),
        apply(client, DOMAIN.0, DOMAIN.1, [(domain.to_owned(), String::new())]),
    )
    .map(drop)
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
