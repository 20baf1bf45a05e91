//! How calls come in: the domain of addresses, the networking layer, and whether anything listens.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::{Api, Client};
use tm_resources::target::INGRESS_HOST;
use tokio::{net::TcpStream, time::timeout};

use super::report::Report;
use crate::target::{Target, published};

/// Namespace of Knative Serving's settings.
pub(super) const KNATIVE: &str = "knative-serving";
/// Domain when Knative was given none: addresses work inside the cluster only.
const INSIDE: &str = "svc.cluster.local";
/// Longest wait for a connection.
const LIMIT: Duration = Duration::from_secs(3);
/// What a user without rights can do.
const ASK: &str =
    "an administrator's `tm doctor` says where functions answer and whether anything listens there";
/// The Services in front of the networking layers Knative documents: class, namespace, name.
const LAYERS: [(&str, &str, &str); 3] = [
    ("kourier.ingress.networking.knative.dev", "kourier-system", "kourier"),
    ("istio.ingress.networking.knative.dev", "istio-system", "istio-ingressgateway"),
    ("contour.ingress.networking.knative.dev", "contour-external", "envoy"),
];

/// Class that Knative takes when it was given none.
const DEFAULT_CLASS: &str = "istio.ingress.networking.knative.dev";

/// Looks at the domain, then for the networking layer's address.
pub(super) async fn check(report: &mut Report, target: &Target) -> Result<()> {
    domain(report, &target.client).await?;
    if let Some(at) = published::settings(&target.client).await?.get(INGRESS_HOST) {
        match connects(at).await {
            true => report.ok("ingress", at),
            false => {
                let hint = format!(
                    "see that the networking layer runs, and {INGRESS_HOST} in ConfigMap kube-public/tm-config"
                );
                report.failed("ingress", &format!("{at} does not answer"), Some(hint));
            }
        }
        return Ok(());
    }
    let maps: Api<ConfigMap> = Api::namespaced(target.client.clone(), KNATIVE);
    match maps.get_opt("config-network").await {
        Ok(Some(map)) => {
            let class =
                map.data.and_then(|mut data| data.remove("ingress-class").or(data.remove("ingress.class")));
            layer(report, target, class.as_deref()).await
        }
        Ok(None) => {
            let hint = "install Knative Serving whole: https://knative.dev/docs/install";
            report.failed(
                "ingress",
                &format!("there is no ConfigMap {KNATIVE}/config-network"),
                Some(hint.into()),
            );
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            report.note("ingress", "you may not look how calls come in", ASK);
            Ok(())
        }
        Err(error) => Err(anyhow::Error::new(error).context("failed to read Knative's network settings")),
    }
}

/// Looks for the networking layer of that class, and whether it listens.
async fn layer(report: &mut Report, target: &Target, class: Option<&str>) -> Result<()> {
    let said = class.map_or_else(
        || format!("ingress-class is not set, so it is {DEFAULT_CLASS}"),
        |class| format!("ingress-class is {class}"),
    );
    let class = class.unwrap_or(DEFAULT_CLASS);
    let Some((_, namespace, name)) = LAYERS.iter().find(|(known, ..)| *known == class) else {
        let hint = format!(
            "see that its pods run and that its Service has an address; with that as {INGRESS_HOST} in ConfigMap \
             kube-public/tm-config it is looked at"
        );
        report.note("ingress", &format!("{said}, which has its address at a place of its own"), &hint);
        return Ok(());
    };
    match Api::<Service>::namespaced(target.client.clone(), namespace).get_opt(name).await {
        Ok(Some(service)) => listening(report, &service, &format!("{namespace}/{name}")).await,
        Ok(None) => {
            let text = format!("{said}, and there is no Service {namespace}/{name}");
            let hint = "install the networking layer, or set ingress-class in ConfigMap knative-serving/config-network";
            report.failed("ingress", &text, Some(hint.into()));
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            report.note("ingress", &format!("{said}; you may not look at Service {namespace}/{name}"), ASK);
        }
        Err(error) => return Err(anyhow::Error::new(error).context("failed to look for the ingress")),
    }
    Ok(())
}

async fn connects(at: &str) -> bool {
    matches!(timeout(LIMIT, TcpStream::connect(at)).await, Ok(Ok(_)))
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
    match connects(&at).await {
        true => report.ok("ingress", &format!("{at} ({what})")),
        false => report.note(
            "ingress",
            &format!("{at} ({what}) does not answer from here"),
            "it may do so from elsewhere; see the pods of the networking layer",
        ),
    }
}
