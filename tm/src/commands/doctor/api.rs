//! The API server, the namespace, and what is installed.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use tokio::time::timeout;

use super::report::Report;
use crate::{
    error::{chain, next_step},
    target::{Target, published},
};

/// Longest wait for an API server that answers at all.
const LIMIT: Duration = Duration::from_secs(15);
/// Tekton Pipelines 1.15's minimum.
const OLDEST_MINOR: u32 = 28;

/// Something that has to be, or may be, installed.
struct Part {
    name: &'static str,
    group: &'static str,
    /// A kind of it; its CRD's label says the version.
    crd: &'static str,
    needed: bool,
    /// What of it tm uses.
    resources: &'static [&'static str],
    hint: &'static str,
}

const PARTS: [Part; 3] = [
    Part {
        name: "Knative",
        group: "serving.knative.dev",
        crd: "services.serving.knative.dev",
        needed: true,
        resources: &["services", "configurations", "revisions", "routes"],
        hint: "install Knative Serving with a networking layer: https://knative.dev/docs/install",
    },
    Part {
        name: "Tekton",
        group: "tekton.dev",
        crd: "taskruns.tekton.dev",
        needed: true,
        resources: &["tasks", "taskruns"],
        hint: "install Tekton Pipelines: https://tekton.dev/docs/installation/pipelines",
    },
    Part {
        name: "Eventing",
        group: "sources.knative.dev",
        crd: "pingsources.sources.knative.dev",
        needed: false,
        resources: &[],
        hint: "install Knative Eventing if functions shall be called by schedules and events",
    },
];

/// Whether the rest is worth looking at.
pub(super) async fn check(report: &mut Report, target: &Target) -> Result<bool> {
    if !server(report, target).await {
        return Ok(false);
    }
    namespace(report, target).await?;
    parts(report, target).await?;
    Ok(true)
}

async fn server(report: &mut Report, target: &Target) -> bool {
    let asked = timeout(LIMIT, target.client.apiserver_version()).await;
    let answered = match asked {
        Ok(answer) => answer.context("the API server cannot be used"),
        Err(_) => Err(anyhow::anyhow!("the API server did not answer within {} s", LIMIT.as_secs())),
    };
    match answered {
        Err(error) => {
            report.failed("API server", &chain(&error), next_step(&error));
            false
        }
        Ok(info) => {
            let minor: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
            let text = format!("Kubernetes API {}", info.git_version);
            if info.major == "1" && minor.parse::<u32>().is_ok_and(|minor| minor < OLDEST_MINOR) {
                let hint = format!("today's Tekton and Knative need Kubernetes 1.{OLDEST_MINOR} or newer");
                report.failed("API server", &text, Some(hint));
            } else {
                report.ok("API server", &text);
            }
            true
        }
    }
}

async fn namespace(report: &mut Report, target: &Target) -> Result<()> {
    let name = &target.namespace;
    match Api::<Namespace>::all(target.client.clone()).get(name).await {
        Ok(found) if found.metadata.deletion_timestamp.is_some() => {
            let hint = "wait until it is gone, or choose another one with -n".to_owned();
            report.failed("namespace", &format!("{name} is being deleted"), Some(hint));
        }
        Ok(_) => report.ok("namespace", name),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let hint = format!("`kubectl create namespace {name}`, or choose another one with -n");
            report.failed("namespace", &format!("there is no namespace `{name}`"), Some(hint));
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
            let error = anyhow::Error::new(kube::Error::Api(status));
            match next_step(&error).filter(|hint| hint.contains("log in")) {
                Some(hint) => report.failed("API server", &chain(&error), Some(hint)),
                None => report.ok("namespace", &format!("{name} (not allowed to look at it)")),
            }
        }
        Err(error) => return Err(anyhow::Error::new(error).context("failed to look at the namespace")),
    }
    Ok(())
}

async fn parts(report: &mut Report, target: &Target) -> Result<()> {
    let groups = target.client.list_api_groups().await.context("failed to ask what is installed")?;
    for part in PARTS {
        let found = groups.groups.iter().find(|group| group.name == part.group);
        let versions: Vec<&str> =
            found.iter().flat_map(|group| &group.versions).map(|version| version.version.as_str()).collect();
        if versions.contains(&"v1") {
            if let Some(missing) = missing(&target.client, &part).await? {
                let text = format!("{}/v1 has no {missing}", part.group);
                report.failed(part.name, &text, Some(format!("install it whole; {}", part.hint)));
                continue;
            }
            let version = version(&target.client, &part).await?;
            let text =
                version.map_or_else(|| format!("{}/v1", part.group), |v| format!("{v} ({}/v1)", part.group));
            report.ok(part.name, &text);
        } else if part.needed {
            let text = if versions.is_empty() {
                "not installed".to_owned()
            } else {
                format!("too old: {} is served as {}, not v1", part.group, versions.join(", "))
            };
            report.failed(part.name, &text, Some(part.hint.to_owned()));
        } else {
            report.note(part.name, "not installed", part.hint);
        }
    }
    Ok(())
}

/// Kinds that the API server does not serve, though others of the group.
async fn missing(client: &Client, part: &Part) -> Result<Option<String>> {
    let served = client.list_api_group_resources(&format!("{}/v1", part.group)).await;
    let served = served.context("failed to ask what is installed")?.resources;
    let lacks = |name: &&&str| !served.iter().any(|resource| resource.name == **name);
    let missing: Vec<&str> = part.resources.iter().filter(lacks).copied().collect();
    Ok((!missing.is_empty()).then(|| missing.join(", ")))
}

/// The release, where the target tells it to this user.
async fn version(client: &Client, part: &Part) -> Result<Option<String>> {
    if part.name == "Tekton"
        && let Some(info) = published::config_map(client, "tekton-pipelines", "pipelines-info").await?
        && let Some(version) = info.data.and_then(|mut data| data.remove("version"))
    {
        return Ok(Some(version));
    }
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let crds: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    match crds.get(part.crd).await {
        Ok(crd) => Ok(crd.labels().get("app.kubernetes.io/version").cloned()),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context("failed to ask for a version")),
    }
}
