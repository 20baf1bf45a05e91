//! Where a source's events go: the address of an object, or the address that is given.

use kube::{Api, ResourceExt};
use tm_resources::{
    serving::{self, Route, Service},
    sources::{PingSource, Reference},
};

use crate::controllers::{Context, ReconcileError};

/// There is no such address; what Eventing's condition says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing(pub(super) String);

/// The address, or why there is none.
pub(super) async fn find(
    source: &PingSource,
    context: &Context,
) -> Result<Result<String, Missing>, ReconcileError> {
    let sink = &source.spec.sink;
    let Some(reference) = &sink.reference else {
        return Ok(sink.uri.clone().ok_or_else(|| Missing(String::new())));
    };
    let namespace = reference.namespace.clone().or_else(|| source.namespace()).unwrap_or_default();
    let address = address_of(reference, &namespace, context).await?;
    Ok(address.map(|address| match sink.uri.as_deref() {
        Some(path) => format!("{}/{}", address.trim_end_matches('/'), path.trim_start_matches('/')),
        None => address,
    }))
}

async fn address_of(
    reference: &Reference,
    namespace: &str,
    context: &Context,
) -> Result<Result<String, Missing>, ReconcileError> {
    let name = &reference.name;
    let address = match (reference.api_version.as_str(), reference.kind.as_str()) {
        (serving::API_VERSION, "Service") => service(name, namespace, context).await?,
        (serving::API_VERSION, "Route") => {
            let route = Api::<Route>::namespaced(context.client.clone(), namespace).get_opt(name).await?;
            route.and_then(|route| route.status?.address?.url)
        }
        // The core Service that Knative keeps beside its own, of the same name: older manifests name that.
        ("v1", "Service") => {
            let found = service(name, namespace, context).await?;
            found.map(|_| context.domain.local_url(None, name, namespace))
        }
        (version, kind) => {
            let message = format!(
                "the embedded engine sends to Services and Routes of {} and to URIs, not to {kind} of {version}",
                serving::API_VERSION
            );
            return Ok(Err(Missing(message)));
        }
    };
    Ok(address.ok_or_else(|| Missing(String::new())))
}

async fn service(name: &str, namespace: &str, context: &Context) -> Result<Option<String>, ReconcileError> {
    let services: Api<Service> = Api::namespaced(context.client.clone(), namespace);
    let found = services.get_opt(name).await?;
    Ok(found.and_then(|service| service.status?.address?.url))
}
