//! The pod of a TaskRun: one container a step, as Tekton names and mounts them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, Pod, PodSpec, Volume, VolumeMount,
};
use kube::{ResourceExt, api::ObjectMeta};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tm_resources::{
    labels::tekton as labels,
    names,
    tekton::{Step, TaskRun, TaskRunStatus, TaskSpec, WorkspaceBinding},
};

use super::{Refused, retry, step, substitute::mount_path};
use crate::{
    controllers::context::owned_by,
    runner::kubelet::{MAY_FAIL, SCRIPT, SEQUENTIAL, SKIP, TIME_LIMIT},
};

/// Volume that every step sees as `/workspace`.
const WORKSPACE: &str = "tekton-internal-workspace";
/// First lines of a script without its own (Tekton's default).
const SHEBANG: &str = "#!/bin/sh\nset -e\n";
/// Longest container name.
const NAME_MAX: usize = 63;

/// Name of the pod of this attempt; clients read it from the status.
pub(super) fn name(run: &TaskRun, status: &TaskRunStatus) -> String {
    match retry::made(status) {
        0 => names::child(&run.name_any(), "-pod"),
        made => names::child(&run.name_any(), &format!("-pod-retry{made}")),
    }
}

/// Name of a step's container.
pub(super) fn container_name(index: usize, step: &Step) -> String {
    let full =
        if step.name.is_empty() { format!("step-unnamed-{index}") } else { format!("step-{}", step.name) };
    let cut: String = full.chars().take(NAME_MAX).collect();
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Builds the pod of a resolved Task.
pub(super) fn build(
    run: &TaskRun,
    status: &TaskRunStatus,
    task_name: &str,
    task: &TaskSpec,
) -> Result<Pod, Refused> {
    if task.other.get("sidecars").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        let message = "sidecars are not run by the embedded engine".to_owned();
        return Err(Refused { reason: "TaskRunValidationFailed", message });
    }
    if let Some(message) = task.steps.iter().find_map(step::unknown) {
        return Err(Refused { reason: "TaskRunValidationFailed", message });
    }
    let steps =
        task.steps.iter().map(|step| with_template(step, task.step_template.as_ref())).collect::<Vec<_>>();
    let mut volumes = vec![empty_dir(WORKSPACE)];
    let mut mounts = vec![mount(WORKSPACE, "/workspace")];
    let mut isolated = Vec::new();
    for declared in &task.workspaces {
        if let Some(binding) = run.spec.workspaces.iter().find(|binding| binding.name == declared.name) {
            let volume = workspace_volume(binding)?;
            let path = mount_path(&declared.name, declared.mount_path.as_deref());
            let read_only = declared.other.get("readOnly").and_then(Value::as_bool);
            let sub_path = source(binding, "subPath");
            let whole = VolumeMount { read_only, sub_path, ..mount(&volume.name, &path) };
            // A workspace that steps ask for is theirs alone (Tekton: isolated workspaces).
            match steps.iter().any(|step| step::workspace(step, &declared.name).is_some()) {
                true => isolated.push((declared.name.as_str(), whole)),
                false => mounts.push(whole),
            }
            volumes.push(volume);
        }
    }
    volumes.extend(task.volumes.iter().cloned());
    let mut annotations = run.annotations().clone();
    annotations.insert(SEQUENTIAL.into(), "true".into());
    annotations.insert(MAY_FAIL.into(), names_of(&steps, step::may_fail));
    annotations.insert(SKIP.into(), names_of(&steps, |step| !step::holds(step)));
    let mut containers = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if let Some(script) = &step.script {
            let text = if script.starts_with("#!") { script.clone() } else { format!("{SHEBANG}{script}") };
            annotations.insert(format!("{SCRIPT}{index}"), text);
        }
        if let Some(limit) = step::text(step, "timeout") {
            annotations.insert(format!("{TIME_LIMIT}{index}"), limit.to_owned());
        }
        let own = isolated.iter().filter_map(|(name, whole)| {
            let usage = step::workspace(step, name)?;
            let mount_path = usage.unwrap_or(&whole.mount_path).to_owned();
            Some(VolumeMount { mount_path, ..whole.clone() })
        });
        containers.push(container(index, step, mounts.iter().cloned().chain(own).collect()));
    }
    let metadata = ObjectMeta {
        name: Some(name(run, status)),
        namespace: run.metadata.namespace.clone(),
        labels: Some(pod_labels(run, task_name)),
        annotations: Some(annotations),
        owner_references: Some(owned_by(run)),
        ..ObjectMeta::default()
    };
    let spec = PodSpec {
        containers,
        volumes: Some(volumes),
        restart_policy: Some("Never".into()),
        service_account_name: run.spec.service_account_name.clone(),
        termination_grace_period_seconds: Some(2),
        ..PodSpec::default()
    };
    Ok(Pod { metadata, spec: Some(spec), status: None })
}

fn pod_labels(run: &TaskRun, task_name: &str) -> BTreeMap<String, String> {
    let mut all = run.labels().clone();
    all.insert(labels::TASK_RUN.into(), run.name_any());
    all.insert(labels::TASK_RUN_UID.into(), run.uid().unwrap_or_default());
    all.insert(labels::MANAGED_BY.into(), "tekton-pipelines".into());
    if run.spec.task_ref.is_some() {
        all.insert(labels::TASK.into(), task_name.into());
    }
    all
}

fn container(index: usize, step: &Step, mut mounts: Vec<VolumeMount>) -> Container {
    let command = match step.script {
        Some(_) => vec![format!("/tekton/scripts/script-{index}")],
        None => step.command.clone(),
    };
    mounts.extend(step.volume_mounts.iter().cloned());
    Container {
        name: container_name(index, step),
        image: step.image.clone(),
        command: Some(command),
        args: Some(step.args.clone()),
        env: Some(step.env.clone()),
        env_from: step.other.get("envFrom").and_then(|list| serde_json::from_value(list.clone()).ok()),
        working_dir: step.working_dir.clone(),
        volume_mounts: Some(mounts),
        security_context: step.security_context.clone(),
        ..Container::default()
    }
}

/// Names of the containers of some steps, as a comma list.
fn names_of(steps: &[Step], which: impl Fn(&Step) -> bool) -> String {
    let listed = steps.iter().enumerate().filter(|(_, step)| which(step));
    listed.map(|(index, step)| container_name(index, step)).collect::<Vec<_>>().join(",")
}

/// A step over the Task's `stepTemplate`: what the step says wins, environments are joined.
fn with_template(step: &Step, template: Option<&Value>) -> Step {
    let Some(template) = template.and_then(|value| serde_json::from_value::<Step>(value.clone()).ok()) else {
        return step.clone();
    };
    let mut merged = step.clone();
    merged.image = merged.image.or(template.image);
    merged.working_dir = merged.working_dir.or(template.working_dir);
    merged.security_context = merged.security_context.or(template.security_context);
    if merged.command.is_empty() && merged.script.is_none() {
        merged.command = template.command;
    }
    if merged.args.is_empty() {
        merged.args = template.args;
    }
    let mut env: Vec<EnvVar> = template
        .env
        .into_iter()
        .filter(|variable| !step.env.iter().any(|own| own.name == variable.name))
        .collect();
    env.append(&mut merged.env);
    merged.env = env;
    merged.volume_mounts.extend(template.volume_mounts);
    if let Some(env_from) = template.other.get("envFrom") {
        merged.other.entry("envFrom").or_insert_with(|| env_from.clone());
    }
    merged
}

fn workspace_volume(binding: &WorkspaceBinding) -> Result<Volume, Refused> {
    let name = format!("ws-{}", binding.name);
    if binding.empty_dir.is_some() {
        return Ok(empty_dir(&name));
    }
    let volume = Volume {
        name,
        secret: source(binding, "secret"),
        config_map: source(binding, "configMap"),
        ..Volume::default()
    };
    let volume = Volume { projected: source(binding, "projected"), ..volume };
    if volume.secret.is_some() || volume.config_map.is_some() || volume.projected.is_some() {
        return Ok(volume);
    }
    let message = format!(
        "workspace \"{}\" is bound to a kind the embedded engine does not have (emptyDir, secret, configMap, projected)",
        binding.name
    );
    Err(Refused { reason: "TaskRunValidationFailed", message })
}

/// What a workspace is bound to, if it is that.
fn source<T: DeserializeOwned>(binding: &WorkspaceBinding, kind: &str) -> Option<T> {
    serde_json::from_value(binding.other.get(kind)?.clone()).ok()
}

fn empty_dir(name: &str) -> Volume {
    Volume { name: name.into(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: path.into(), ..VolumeMount::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn container_names() {
        let step = |name: &str| Step { name: name.into(), ..Step::default() };
        assert_eq!(container_name(0, &step("build")), "step-build");
        assert_eq!(container_name(2, &step("")), "step-unnamed-2");
        assert_eq!(container_name(0, &step(&"-a".repeat(60))).len(), NAME_MAX);
    }

    #[test]
    fn bindings_are_taken_whole() {
        let volume = |binding: Value| {
            let binding: WorkspaceBinding = serde_json::from_value(binding).expect("a binding");
            workspace_volume(&binding).map(|volume| serde_json::to_value(volume).expect("a volume"))
        };
        let items = json!([{"key": "a", "path": "b"}]);
        let secret = json!({"secretName": "s", "items": items});
        assert_eq!(
            volume(json!({"name": "w", "secret": secret})),
            Ok(json!({"name": "ws-w", "secret": {"secretName": "s", "items": items}}))
        );
        let map = json!({"name": "m", "optional": true});
        assert_eq!(
            volume(json!({"name": "w", "configMap": map, "subPath": "x"})),
            Ok(json!({"name": "ws-w", "configMap": map}))
        );
        let refused = volume(json!({"name": "w", "persistentVolumeClaim": {"claimName": "c"}}));
        assert!(refused.is_err_and(|refused| refused.message.contains("\"w\"")));
    }
}
