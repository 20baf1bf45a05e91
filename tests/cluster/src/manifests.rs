//! Manifests of Knative and Tekton: read from Go's module cache, changed for one small node, sorted into waves.
//!
//! Nothing of them is kept in this repository. What is changed: images, replicas, resource requests, the few settings
//! that have no default. What is left out needs more than this cluster has (metrics, cert-manager) or nobody calls.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::{Map, Value, json};

use crate::{
    images,
    programs::{Programs, Tool},
    settings::FUNCTIONS_DOMAIN,
};

/// What is applied when; each wave needs the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wave {
    /// Namespaces and CRDs.
    Kinds,
    /// Accounts, rights, settings, Services.
    Settings,
    /// Deployments.
    Workloads,
    /// Webhooks: last, since a webhook that is not up yet refuses everything.
    Webhooks,
}

/// Files of one module.
struct Source {
    module: &'static str,
    folders: &'static [&'static str],
    /// Parts of paths that are left out.
    without: &'static [&'static str],
    /// What stands in for `devel`.
    version_of: &'static str,
}

const SERVING: &str = "knative.dev/serving";
const EVENTING: &str = "knative.dev/eventing";
const SOURCES: &[Source] = &[
    Source {
        module: SERVING,
        folders: &["config/core"],
        without: &["999-cache", "300-knativecertificate"],
        version_of: SERVING,
    },
    Source { module: "knative.dev/networking", folders: &["config"], without: &[], version_of: SERVING },
    Source { module: "knative.dev/caching", folders: &["config"], without: &[], version_of: SERVING },
    Source {
        module: "knative.dev/net-kourier",
        folders: &["config"],
        without: &[],
        version_of: "knative.dev/net-kourier",
    },
    Source {
        module: EVENTING,
        folders: &[
            "config/core",
            "config/channels/in-memory-channel",
            "config/brokers/mt-channel-broker/roles",
            "config/brokers/mt-channel-broker/deployments",
            "third_party/eventing-integrations-latest",
        ],
        without: &["deployments/request-reply", "deployments/job-sink"],
        version_of: EVENTING,
    },
    Source {
        module: "github.com/tektoncd/pipeline",
        folders: &["config"],
        without: &["config/resolvers/", "config/events.yaml"],
        version_of: "github.com/tektoncd/pipeline",
    },
];
/// Kinds that need metrics, several nodes or cert-manager.
const LEFT_OUT: &[&str] = &["HorizontalPodAutoscaler", "PodDisruptionBudget", "StatefulSet"];
const MAX_FOLDERS: usize = 1000;

/// All manifests, in the order of their waves.
pub(crate) fn all(programs: &Programs) -> Result<Vec<(Wave, Value)>> {
    let mut all = Vec::new();
    for source in SOURCES {
        let module = programs.module(source.module)?;
        let version = programs.module(source.version_of)?.version();
        for folder in source.folders {
            for file in yaml_files(&module.dir().join(folder))? {
                if source.without.iter().any(|part| file.to_string_lossy().contains(part)) {
                    continue;
                }
                let documents = read(&file)?;
                all.extend(documents.into_iter().filter_map(|document| prepare(document, version)));
            }
        }
    }
    all.sort_by_key(|(wave, _)| *wave);
    if all.len() < 100 {
        bail!("only {} manifests were found in Go's module cache", all.len());
    }
    Ok(all)
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    for _ in 0..MAX_FOLDERS {
        let Some(at) = waiting.pop() else { break };
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "yaml") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file)?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("`{}` is no YAML", file.display()))
}

/// A manifest as this cluster wants it; none for what is left out.
fn prepare(mut manifest: Value, version: &str) -> Option<(Wave, Value)> {
    let kind = manifest["kind"].as_str()?.to_owned();
    if LEFT_OUT.contains(&kind.as_str()) {
        return None;
    }
    each_string(&mut manifest, &|text| replace(text, version));
    let wave = match kind.as_str() {
        "Namespace" | "CustomResourceDefinition" => Wave::Kinds,
        "Deployment" => {
            shrink(&mut manifest);
            Wave::Workloads
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => Wave::Webhooks,
        "ConfigMap" => {
            configure(&mut manifest);
            Wave::Settings
        }
        _ => Wave::Settings,
    };
    Some((wave, manifest))
}

fn replace(text: &str, version: &str) -> Option<String> {
    if let Some(import_path) = text.strip_prefix("ko://") {
        return Tool::of(import_path).map(|tool| tool.image());
    }
    match text {
        "devel" => Some(version.to_owned()),
        _ if text.starts_with("cgr.dev/chainguard/busybox@") => Some(images::SHELL.into()),
        _ if text.starts_with("docker.io/envoyproxy/envoy:") => Some(images::ENVOY.into()),
        _ => None,
    }
}

/// One node with two processors: one replica, small requests, no spreading, quick probes.
fn shrink(deployment: &mut Value) {
    let spec = &mut deployment["spec"];
    if spec["replicas"].as_u64().is_some_and(|replicas| replicas > 1) {
        spec["replicas"] = 1.into();
    }
    let pod = &mut spec["template"]["spec"];
    if let Some(pod) = pod.as_object_mut() {
        pod.shift_remove("affinity");
        pod.shift_remove("topologySpreadConstraints");
    }
    for container in pod["containers"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        shrink_container(container);
    }
}

fn shrink_container(container: &mut Map<String, Value>) {
    // Kourier's wants a shell and curl, which its image here does not have.
    container.shift_remove("lifecycle");
    let memory = container.get("resources").and_then(|r| r["limits"].get("memory")).cloned();
    let mut resources = json!({"requests": {"cpu": "10m", "memory": "20Mi"}});
    if let Some(memory) = memory {
        resources["limits"] = json!({"memory": memory});
    }
    container.insert("resources".into(), resources);
    if let Some(probe) = container.get_mut("readinessProbe").and_then(Value::as_object_mut) {
        probe.insert("initialDelaySeconds".into(), 0.into());
        probe.insert("periodSeconds".into(), 1.into());
        probe.insert("failureThreshold".into(), 30.into());
    }
}

/// The settings that Knative has no default for.
fn configure(config_map: &mut Value) {
    let name = config_map["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let namespace = config_map["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let mut set = |key: &str, value: &str| config_map["data"][key] = value.into();
    match (namespace.as_str(), name.as_str()) {
        ("knative-serving", "config-network") => {
            set("ingress-class", "kourier.ingress.networking.knative.dev");
        }
        ("knative-serving", "config-domain") => set(FUNCTIONS_DOMAIN, ""),
        _ => {}
    }
}

/// Replaces strings wherever they are.
fn each_string(value: &mut Value, replace: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = replace(text) {
                *text = new;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_string(item, replace)),
        Value::Object(fields) => fields.values_mut().for_each(|field| each_string(field, replace)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "webhook", "labels": {"app.kubernetes.io/version": "devel"}},
            "spec": {"replicas": 3, "template": {"spec": {
                "affinity": {}, "containers": [{
                    "image": "ko://knative.dev/serving/cmd/webhook",
                    "args": ["-nop-image", "ko://github.com/tektoncd/pipeline/cmd/nop", "devel-not"],
                    "lifecycle": {},
                    "readinessProbe": {"periodSeconds": 10, "initialDelaySeconds": 10},
                    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}},
                }],
            }}},
        })
    }

    #[test]
    fn a_deployment_fits_one_node_and_names_our_images() {
        let (wave, manifest) = prepare(deployment(), "v1.2.3").unwrap();
        assert_eq!(wave, Wave::Workloads);
        assert_eq!(manifest["metadata"]["labels"]["app.kubernetes.io/version"], "v1.2.3");
        assert_eq!(manifest["spec"]["replicas"], 1);
        let pod = &manifest["spec"]["template"]["spec"];
        assert_eq!(pod.get("affinity"), None);
        let container = &pod["containers"][0];
        assert_eq!(container["image"], "dev.local/serving-webhook:1");
        assert_eq!(container["args"], json!(["-nop-image", "dev.local/tekton-nop:1", "devel-not"]));
        assert_eq!(
            container["resources"],
            json!({"requests": {"cpu": "10m", "memory": "20Mi"}, "limits": {"memory": "1Gi"}})
        );
        assert_eq!(container.get("lifecycle"), None);
    }

    #[test]
    fn one_that_waits_to_be_scaled_up_stays_down() {
        let mut manifest = deployment();
        manifest["spec"]["replicas"] = 0.into();
        assert_eq!(prepare(manifest, "v1").unwrap().1["spec"]["replicas"], 0);
    }

    #[test]
    fn webhooks_come_last_and_kinds_first() {
        let wave = |kind: &str| prepare(json!({"kind": kind, "metadata": {}}), "v1").map(|(wave, _)| wave);
        assert!(wave("CustomResourceDefinition") < wave("ConfigMap"));
        assert!(wave("ConfigMap") < wave("Deployment"));
        assert!(wave("Deployment") < wave("ValidatingWebhookConfiguration"));
        assert_eq!(wave("HorizontalPodAutoscaler"), None);
        assert_eq!(prepare(Value::Null, "v1"), None);
    }

    #[test]
    fn the_ingress_and_the_domain_are_chosen() {
        let map = |name: &str| json!({"kind": "ConfigMap", "metadata": {"name": name, "namespace": "knative-serving"}});
        let data = |name: &str| prepare(map(name), "v1").unwrap().1["data"].clone();
        assert_eq!(
            data("config-network"),
            json!({"ingress-class": "kourier.ingress.networking.knative.dev"})
        );
        assert_eq!(data("config-domain"), json!({FUNCTIONS_DOMAIN: ""}));
        assert_eq!(data("config-gc"), Value::Null);
    }
}
