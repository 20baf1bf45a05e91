//! What is needed to understand a failure afterwards, copied out of the state folder before `down` removes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, Discovery, ResourceExt as _,
    api::{DynamicObject, ListParams},
    core::GroupVersionKind,
};

use crate::{daemons, kubeconfig, say, settings::Settings, status};

/// Objects that say how things went.
const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "Pod"),
    ("", "v1", "Event"),
    ("apps", "v1", "Deployment"),
    ("serving.knative.dev", "v1", "Service"),
    ("serving.knative.dev", "v1", "Revision"),
    ("serving.knative.dev", "v1", "Route"),
    ("tekton.dev", "v1", "TaskRun"),
];
/// Warnings that are shown; all of them are in the files.
const SHOWN: usize = 20;

/// Copies logs and objects to `to` and shows what looks wrong.
pub(crate) async fn keep(settings: &Settings, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for (from, name) in [(settings.logs(), "components"), (settings.pod_logs(), "pods")] {
        if from.exists() {
            copy(&from, &to.join(name))?;
        }
    }
    for name in status::components().filter(|name| !daemons::is_running(settings, name)) {
        say::note(&format!(
            "{name} does not run; the end of its log:\n{}",
            daemons::log_tail(settings, name)
        ));
    }
    if let Err(error) = objects(settings, to).await {
        say::note(&format!("the API could not be asked: {error:#}"));
    }
    say::note(&format!("logs are in {}", to.display()));
    Ok(())
}

async fn objects(settings: &Settings, to: &Path) -> Result<()> {
    let client = kubeconfig::client(settings).await?;
    let discovery = Discovery::new(client.clone()).run().await?;
    for (group, version, kind) in KINDS {
        let Some((resource, _)) = discovery.resolve_gvk(&GroupVersionKind::gvk(group, version, kind)) else {
            continue;
        };
        let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let list =
            all.list(&ListParams::default()).await.with_context(|| format!("failed to list {kind}"))?;
        let file = to.join(format!("{}.json", resource.plural));
        fs::write(file, serde_json::to_vec_pretty(&list.items)?)?;
    }
    show_pods(&client).await?;
    show_warnings(&client).await
}

async fn show_pods(client: &Client) -> Result<()> {
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?;
    for pod in pods {
        let status = pod.status.clone().unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let restarts: i32 = containers.iter().map(|container| container.restart_count).sum();
        let all_ready = phase == "Succeeded" || containers.iter().all(|container| container.ready);
        if phase == "Running" && all_ready && restarts == 0 || phase == "Succeeded" {
            continue;
        }
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        say::note(&format!("pod {name}: {phase}, {restarts} restarts"));
    }
    Ok(())
}

async fn show_warnings(client: &Client) -> Result<()> {
    let events = Api::<Event>::all(client.clone()).list(&ListParams::default()).await?;
    let warnings: Vec<Event> =
        events.into_iter().filter(|event| event.type_.as_deref() == Some("Warning")).collect();
    for event in warnings.iter().skip(warnings.len().saturating_sub(SHOWN)) {
        let about = &event.involved_object;
        say::note(&format!(
            "{} {}/{}: {}",
            about.kind.clone().unwrap_or_default(),
            about.namespace.clone().unwrap_or_default(),
            about.name.clone().unwrap_or_default(),
            event.message.clone().unwrap_or_default()
        ));
    }
    Ok(())
}

/// Copies a tree of files; links, which point to where logs were, are followed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(at) = waiting.pop() {
        fs::create_dir_all(to.join(&at))?;
        for entry in fs::read_dir(from.join(&at))? {
            let entry = entry?;
            let below = at.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                waiting.push(below);
            } else if entry.path().exists() {
                fs::copy(entry.path(), to.join(below))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_copied_and_dead_links_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("a")).unwrap();
        fs::write(from.join("a/file"), "text").unwrap();
        std::os::unix::fs::symlink("gone", from.join("dead")).unwrap();
        let to = root.path().join("to");
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/file")).unwrap(), "text");
        assert!(!to.join("dead").exists());
    }
}
