//! What the cluster tells its users: where its registry is (KEP-1755) and where its ingress listens.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    apply::{self, FIELD_MANAGER},
    manifests::Wave,
    settings::Settings,
};

const NAMESPACE: &str = "kube-public";
const READER: &str = "tm-cluster-public";

/// Publishes both.
pub(crate) async fn publish(settings: &Settings, client: &Client) -> Result<()> {
    let manifests: Vec<_> =
        manifests(settings)?.into_iter().map(|manifest| (Wave::Settings, manifest)).collect();
    apply::apply(client, &manifests, Wave::Settings).await?;
    give_ingress_its_address(settings, client).await
}

fn manifests(settings: &Settings) -> Result<Vec<Value>> {
    let registry = settings.open_registry();
    let hosting = serde_saphyr::to_string(&json!({
        "host": registry,
        "hostFromClusterNetwork": registry,
        "hostFromContainerRuntime": registry,
        "help": "https://kind.sigs.k8s.io/docs/user/local-registry/",
    }))?;
    let meta = |name: &str| json!({"name": name, "namespace": NAMESPACE});
    let rbac = "rbac.authorization.k8s.io";
    Ok(vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("local-registry-hosting"),
            "data": {"localRegistryHosting.v1": hosting}}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": meta(READER),
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"],
                "resourceNames": ["local-registry-hosting", "tm-config"]}]}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": meta(READER),
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": READER},
            "subjects": [{"apiGroup": rbac, "kind": "Group", "name": "system:authenticated"}]}),
    ])
}

/// What a cloud's load balancer would do: kube-proxy then takes what comes for that address.
async fn give_ingress_its_address(settings: &Settings, client: &Client) -> Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), "kourier-system");
    let status = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kourier"},
        "status": {"loadBalancer": {"ingress": [{"ip": settings.address()}]}},
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    services
        .patch_status("kourier", &params, &Patch::Apply(status))
        .await
        .context("failed to give the ingress its address")?;
    Ok(())
}
