//! How calls come in: the domain of addresses, the networking layer, and whether anything listens.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::{net::TcpStream, time::timeout};

use super::report::Report;
use crate::target::{Target, published};

/// Namespace of Knative Serving's settings.
pub(super) const KNATIVE: &str = "knative-serving";
/// Domain when Knative was given none: addresses work inside the cluster only.
const INSIDE: &str = "svc.cluster.local";
/// Longest wait for a connection.
const LIMIT: Duration = Duration::from_secs(3);
/// The Services in front of the networking layers Knative documents: class, namespace, name.
const LAYERS: [(&str, &str, &str); 3] = [
    ("kourier.ingress.networking.knative.dev", "kourier-system", "kourier"),
    ("istio.ingress.networking.knative.dev", "istio-system", "istio-ingressgateway"),
    ("contour.ingress.networking.knative.dev", "contour-external", "envoy"),
];

/// Looks at the domain, then for the networking layer's address.
pub(super) async fn check(report: &mut Report, target: &Target) -> Result<()> {
    domain(report, &target.client).await?;
    let class = published::config_map(&target.client, KNATIVE, "config-network")
        .await
        .context("failed to read Knative's network settings")?
        .and_then(|map| map.data?.remove("ingress-class"));
    let Some(class) = class else { return Ok(()) };
    let Some((_, namespace, name)) = LAYERS.iter().find(|(known, ..)| *known == class) else {
        report.ok("ingress", &class);
        return Ok(());
    };
    match Api::<Service>::namespaced(target.client.clone(), namespace).get_opt(name).await {
        Ok(Some(service)) => listening(report, &service, &format!("{namespace}/{name}")).await,
        Ok(None) => {
            let text = format!("ingress-class is {class}, and there is no Service {namespace}/{name}");
            let hint = "install the networking layer, or set ingress-class in ConfigMap config-network";
            report.failed("ingress", &text, Some(hint.into()));
        }
        Err(kube::Error::Api(status)) if status.code == 403 => report.ok("ingress", &class),
        Err(error) => return Err(anyhow::Error::new(error).context("failed to look for the ingress")),
    }
    Ok(())
}

async fn domain(report: &mut Report, client: &Client) -> Result<()> {
    let map = published::config_map(client, KNATIVE, "config-domain")
        .await
        .context("failed to read Knative's domain settings")?;
    let Some(map) = map else { return Ok(()) };
    let data = map.data.unwrap_or_default();
    // A value is a selector; the domain of everything else has none.
    let domain = data
        .iter()
        .find(|(key, selector)| !key.starts_with('_') && !selector.contains("selector"))
        .map_or(INSIDE, |(key, _)| key.as_str());
    match domain {
        INSIDE => report.note(
            "domain",
            "svc.cluster.local: services answer inside the cluster only",
            "set a domain in ConfigMap knative-serving/config-domain",
        ),
        "example.com" => report.note(
            "domain",
            "example.com, which leads nowhere",
            "call the ingress with the service's host: curl -H \"Host: NAME.NAMESPACE.example.com\" …, or set a \
             domain of yours in ConfigMap knative-serving/config-domain",
        ),
        domain => report.ok("domain", domain),
    }
    Ok(())
}

async fn listening(report: &mut Report, service: &Service, what: &str) {
    let address = service.status.as_ref().and_then(|status| {
        let first = status.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
        first.ip.clone().or_else(|| first.hostname.clone())
    });
    let external = || service.spec.as_ref().and_then(|spec| spec.external_ips.as_ref()?.first().cloned());
    let Some(address) = address.or_else(external) else {
        report.note(
            "ingress",
            &format!("Service {what} has no address outside the cluster"),
            "give the cluster a load balancer (MetalLB, k3s' own, the cloud's), or use \
             `kubectl port-forward` or a node port",
        );
        return;
    };
    let at = format!("{address}:80");
    match timeout(LIMIT, TcpStream::connect(&at)).await {
        Ok(Ok(_)) => report.ok("ingress", &format!("{at} ({what})")),
        _ => report.note(
            "ingress",
            &format!("{at} ({what}) does not answer from here"),
            "it may do so from elsewhere; see the pods of the networking layer",
        ),
    }
}
