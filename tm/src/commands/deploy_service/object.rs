//! The Knative Service of a deployment.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, LocalObjectReference, SecretEnvSource};
use kube::api::ObjectMeta;
use tm_resources::{
    labels,
    serving::{RevisionSpec, RevisionTemplate, Service, ServiceSpec, TemplateMeta, TrafficTarget},
};

use crate::{build::confined, error::HintExt, settings::ServiceSettings};

/// Seconds a request may take longer than the function: its time-out is answered by the shim, not cut by the target.
pub(in crate::commands) const ANSWER_GRACE: i64 = 10;
/// The function's time-out, for the shim.
const TIMEOUT: &str = "AWS_LAMBDA_FUNCTION_TIMEOUT";

/// The object to apply.
pub(super) fn build(
    settings: &ServiceSettings,
    namespace: &str,
    image: &str,
    runtime: Option<&str>,
    pull_secret: Option<&str>,
    live: Option<&Service>,
) -> Result<Service> {
    let mut annotations = settings.annotations.clone();
    annotations.insert(labels::USER_IMAGE.into(), image.to_owned());
    if let Some(runtime) = runtime {
        annotations.insert(labels::tm::RUNTIME.into(), runtime.to_owned());
    }
    let container = Container {
        name: "user-container".into(),
        image: Some(image.into()),
        env: filled(variables(settings)),
        // Images of somebody else's may want to be root; what tm builds does not.
        security_context: runtime.map(|_| confined()),
        env_from: filled(settings.env_secrets.iter().map(|name| secret(name)).collect()),
        ..Container::default()
    };
    let spec = RevisionSpec {
        container_concurrency: settings.concurrency,
        timeout_seconds: settings.timeout.map(|seconds| seconds + ANSWER_GRACE),
        image_pull_secrets: pull_secret
            .map(|name| LocalObjectReference { name: name.into() })
            .into_iter()
            .collect(),
        containers: vec![container],
        ..RevisionSpec::default()
    };
    let template =
        RevisionTemplate { metadata: TemplateMeta { annotations, ..TemplateMeta::default() }, spec };
    let metadata = ObjectMeta {
        name: Some(settings.name.clone()),
        namespace: Some(namespace.into()),
        labels: (!settings.labels.is_empty()).then(|| settings.labels.clone()),
        ..ObjectMeta::default()
    };
    Ok(Service { metadata, spec: ServiceSpec { template, traffic: traffic(settings, live)? }, status: None })
}

/// A list that says something; an empty one is left out, as people do.
fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn variables(settings: &ServiceSettings) -> Vec<EnvVar> {
    let mut all: BTreeMap<String, String> = settings.env.clone();
    if let Some(seconds) = settings.timeout {
        all.entry(TIMEOUT.into()).or_insert_with(|| seconds.to_string());
    }
    all.into_iter().map(|(name, value)| EnvVar { name, value: Some(value), ..EnvVar::default() }).collect()
}

fn secret(name: &str) -> EnvFromSource {
    let source = SecretEnvSource { name: name.into(), ..SecretEnvSource::default() };
    EnvFromSource { secret_ref: Some(source), ..EnvFromSource::default() }
}

/// What the Service's traffic is now, with tags taken away and given (kn: untag first). Shares stay as they are.
fn traffic(settings: &ServiceSettings, live: Option<&Service>) -> Result<Vec<TrafficTarget>> {
    let mut targets = live.map(|live| live.spec.traffic.clone()).unwrap_or_default();
    if targets.is_empty() {
        targets.push(TrafficTarget {
            latest_revision: Some(true),
            percent: Some(100),
            ..TrafficTarget::default()
        });
    }
    for target in &mut targets {
        target.url = None;
    }
    for tag in &settings.untags {
        let Some(target) = targets.iter_mut().find(|target| target.tag.as_ref() == Some(tag)) else {
            bail!("no revision has the tag `{tag}`");
        };
        target.tag = None;
    }
    for (revision, tag) in &settings.tags {
        if let Some(owner) = targets.iter().find(|target| target.tag.as_ref() == Some(tag)) {
            let owner = owner.revision_name.as_deref().unwrap_or("@latest");
            if owner == revision {
                continue;
            }
            return Err(anyhow::anyhow!("the tag `{tag}` belongs to `{owner}`"))
                .hint(format!("take it away first: `--untag {tag}`"));
        }
        targets.push(tagged(revision, tag));
    }
    targets.retain(|target| target.tag.is_some() || target.percent.unwrap_or(0) > 0);
    Ok(targets)
}

fn tagged(revision: &str, tag: &str) -> TrafficTarget {
    let latest = revision == "@latest";
    TrafficTarget {
        revision_name: (!latest).then(|| revision.to_owned()),
        latest_revision: Some(latest),
        percent: Some(0),
        tag: Some(tag.into()),
        ..TrafficTarget::default()
    }
}
