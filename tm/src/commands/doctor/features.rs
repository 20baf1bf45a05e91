//! Settings of Tekton, Knative and the namespace that decide whether builds and functions work as tm makes them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};

use super::{super::deploy_service::ANSWER_GRACE, ingress::KNATIVE, report::Report};
use crate::target::{Target, published};

/// Namespace of Tekton's settings.
pub(super) const TEKTON: &str = "tekton-pipelines";
/// Namespace label of the Pod Security admission.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// AWS's longest time-out in seconds.
const AWS_TIMEOUT: i64 = 900;
/// Knative's default of `max-revision-timeout-seconds`.
const KNATIVE_TIMEOUT: i64 = 600;
/// Image parameter every build needs.
const BUILDER_IMAGE: &str = "BUILDER_IMAGE";

/// Looks at the images, Tekton's flags and Knative's limits.
pub(super) async fn check(report: &mut Report, target: &Target) -> Result<()> {
    images(report, &target.client).await?;
    if let Some(flags) = data(&target.client, TEKTON, "feature-flags").await? {
        let restricted = is_restricted(target).await?;
        tekton(report, &flags, restricted);
    }
    if let Some(defaults) = data(&target.client, KNATIVE, "config-defaults").await? {
        knative(report, &defaults);
    }
    Ok(())
}

async fn data(client: &Client, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, String>>> {
    let map = published::config_map(client, namespace, name)
        .await
        .with_context(|| format!("failed to read ConfigMap {namespace}/{name}"))?;
    Ok(map.map(|map| map.data.unwrap_or_default()))
}

async fn images(report: &mut Report, client: &Client) -> Result<()> {
    match published::settings(client).await?.get(BUILDER_IMAGE) {
        Some(image) => report.ok("builder", image),
        None => report.note(
            "builder",
            "the target names no builder image, so the public one is used",
            "`tm setup` makes one from this program and pushes it to your registry",
        ),
    }
    Ok(())
}

async fn is_restricted(target: &Target) -> Result<bool> {
    match Api::<Namespace>::all(target.client.clone()).get(&target.namespace).await {
        Ok(namespace) => Ok(namespace.labels().get(ENFORCE).is_some_and(|level| level == "restricted")),
        Err(kube::Error::Api(_)) => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("failed to look at the namespace")),
    }
}

fn tekton(report: &mut Report, flags: &BTreeMap<String, String>, restricted: bool) {
    let flag = |name: &str| flags.get(name).map(String::as_str).unwrap_or_default();
    if restricted && flag("set-security-context") != "true" {
        report.failed(
            "flags",
            "the namespace enforces Pod Security `restricted`, which Tekton's own containers do not fulfil",
            Some(format!("set `set-security-context: \"true\"` in ConfigMap {TEKTON}/feature-flags")),
        );
    } else {
        report.ok("flags", "Tekton's feature flags let tm build");
    }
}

fn knative(report: &mut Report, defaults: &BTreeMap<String, String>) {
    let longest = defaults.get("max-revision-timeout-seconds").and_then(|text| text.parse().ok());
    let longest = longest.unwrap_or(KNATIVE_TIMEOUT) - ANSWER_GRACE;
    if longest >= AWS_TIMEOUT {
        report.ok("time-outs", &format!("up to {longest} s"));
    } else {
        let needed = AWS_TIMEOUT + ANSWER_GRACE;
        report.note(
            "time-outs",
            &format!("functions may take up to {longest} s; on AWS it is {AWS_TIMEOUT}"),
            &format!(
                "set max-revision-timeout-seconds: \"{needed}\" in ConfigMap knative-serving/config-defaults ({ANSWER_GRACE} s \
                 are for the answer), and terminationGracePeriodSeconds: {needed} in the activator's Deployment"
            ),
        );
    }
}
