//! Revision: resolves the image, keeps as many pods as the autoscaler wants, and says whether the Revision works.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{EnvVar, Pod, PodSpec};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
    runtime::controller::Action,
};
use tm_resources::{
    Condition, ConditionStatus, labels, names,
    serving::{ContainerDigest, Revision, RevisionStatus},
};

use super::{Context, ReconcileError, RevisionRef, context::owned_by, service::summary};

/// Port containers think they listen on (Knative's default); the kubelet chooses the real one.
const DEFAULT_PORT: i32 = 8080;

/// What is wrong with the pods, in Knative's words.
struct Trouble {
    condition: &'static str,
    reason: String,
    message: String,
}

/// One look at a Revision.
pub(super) async fn reconcile(
    revision: Arc<Revision>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let reference =
        RevisionRef { namespace: revision.namespace().unwrap_or_default(), name: revision.name_any() };
    if revision.metadata.deletion_timestamp.is_some() {
        context.autoscaler.forget(&reference);
        return Ok(Action::await_change());
    }
    let digests = match digests(&revision, &reference, &context).await {
        Ok(digests) => digests,
        Err(message) => {
            let status = missing_image(&revision, &message);
            context.write_status(&*revision, revision.status.as_ref(), &status).await?;
            return Ok(Action::await_change());
        }
    };
    let was_ready = is_ready(&revision);
    let gate = context.autoscaler.configure(&reference, &revision, was_ready);
    let pods = living_pods(&revision, &context).await?;
    scale(&revision, &context, &pods, gate.desired(), &digests).await?;
    let trouble = pods.iter().find_map(trouble);
    gate.fail(trouble.as_ref().map(|trouble| format!("{}: {}", trouble.reason, trouble.message)));
    let status = status_of(&revision, &pods, digests, trouble, gate.desired());
    context.write_status(&*revision, revision.status.as_ref(), &status).await?;
    Ok(Action::await_change())
}

fn is_ready(revision: &Revision) -> bool {
    let conditions = revision.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == ConditionStatus::True)
}

/// Digests of the images, resolved once (Knative: tag to digest at creation).
async fn digests(
    revision: &Revision,
    reference: &RevisionRef,
    context: &Context,
) -> Result<Vec<ContainerDigest>, String> {
    if let Some(status) = revision.status.as_ref().filter(|status| !status.container_statuses.is_empty()) {
        return Ok(status.container_statuses.clone());
    }
    let secrets: Vec<String> =
        revision.spec.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    let mut digests = Vec::new();
    for container in &revision.spec.containers {
        let image = container.image.as_deref().unwrap_or_default();
        let resolved =
            context.images.resolve(image, &reference.namespace, &secrets).await.map_err(|error| {
                format!("Unable to fetch image \"{image}\": failed to resolve image to digest: {error}")
            })?;
        digests.push(ContainerDigest { name: container.name.clone(), image_digest: Some(resolved) });
    }
    Ok(digests)
}

/// The Revision's pods that are neither being deleted nor over; over ones are removed.
async fn living_pods(revision: &Revision, context: &Context) -> Result<Vec<Pod>, ReconcileError> {
    let api: Api<Pod> = context.beside(revision);
    let selector = format!("{}={}", labels::serving::REVISION, revision.name_any());
    let mut living = Vec::new();
    for pod in api.list(&ListParams::default().labels(&selector)).await? {
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Failed" | "Succeeded")) {
            delete(&api, &pod).await?;
        } else {
            living.push(pod);
        }
    }
    Ok(living)
}

async fn delete(api: &Api<Pod>, pod: &Pod) -> Result<(), ReconcileError> {
    match api.delete(&pod.name_any(), &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// Creates or deletes pods until there are as many as wanted; pods that are not ready go first.
async fn scale(
    revision: &Revision,
    context: &Context,
    pods: &[Pod],
    wanted: u32,
    digests: &[ContainerDigest],
) -> Result<(), ReconcileError> {
    let api: Api<Pod> = context.beside(revision);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    for _ in pods.len()..wanted {
        api.create(&PostParams::default(), &pod_of(revision, digests)).await?;
    }
    let mut order: Vec<&Pod> = pods.iter().collect();
    order.sort_by_key(|pod| pod_ready(pod));
    for pod in order.into_iter().take(pods.len().saturating_sub(wanted)) {
        delete(&api, pod).await?;
    }
    Ok(())
}

fn pod_of(revision: &Revision, digests: &[ContainerDigest]) -> Pod {
    let name = revision.name_any();
    let mut labels = revision.labels().clone();
    labels.insert(labels::serving::REVISION.into(), name.clone());
    labels.insert(labels::serving::REVISION_UID.into(), revision.uid().unwrap_or_default());
    labels.insert("app".into(), name.clone());
    let only_one = revision.spec.containers.len() == 1;
    let mut containers = revision.spec.containers.clone();
    for container in &mut containers {
        let digest = digests.iter().find(|digest| digest.name == container.name);
        container.image = digest.and_then(|digest| digest.image_digest.clone()).or(container.image.take());
        let serves = only_one || container.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        if serves {
            give_port(container, revision);
        }
    }
    let metadata = ObjectMeta {
        generate_name: Some(names::child(&name, "-deployment-")),
        namespace: revision.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: revision.metadata.annotations.clone(),
        owner_references: Some(owned_by(revision)),
        ..ObjectMeta::default()
    };
    let spec = PodSpec {
        containers,
        volumes: Some(revision.spec.volumes.clone()),
        service_account_name: revision.spec.service_account_name.clone(),
        image_pull_secrets: Some(revision.spec.image_pull_secrets.clone()),
        restart_policy: Some("Always".into()),
        termination_grace_period_seconds: Some(revision.spec.timeout_seconds.unwrap_or(300)),
        ..PodSpec::default()
    };
    Pod { metadata, spec: Some(spec), status: None }
}

/// Names the port, and what Knative tells every user container.
fn give_port(container: &mut k8s_openapi::api::core::v1::Container, revision: &Revision) {
    let port = container.ports.iter().flatten().next().map_or(DEFAULT_PORT, |port| port.container_port);
    if container.ports.as_ref().is_none_or(Vec::is_empty) {
        let port = k8s_openapi::api::core::v1::ContainerPort { container_port: port, ..Default::default() };
        container.ports = Some(vec![port]);
    }
    let label = |key: &str| revision.labels().get(key).cloned().unwrap_or_default();
    let injected = [
        ("PORT", port.to_string()),
        ("K_REVISION", revision.name_any()),
        ("K_CONFIGURATION", label(labels::serving::CONFIGURATION)),
        ("K_SERVICE", label(labels::serving::SERVICE)),
    ];
    let env = container.env.get_or_insert_default();
    for (name, value) in injected {
        env.push(EnvVar { name: name.into(), value: Some(value), ..EnvVar::default() });
    }
}

fn pod_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What keeps a pod from running.
fn trouble(pod: &Pod) -> Option<Trouble> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = containers.iter().find_map(|container| container.state.as_ref()?.waiting.as_ref())?;
    let reason = waiting.reason.clone().unwrap_or_default();
    let message = waiting.message.clone().unwrap_or_default();
    let condition = match reason.as_str() {
        "CrashLoopBackOff" => "ContainerHealthy",
        "ErrImagePull" | "ImagePullBackOff" | "CreateContainerConfigError" | "RunContainerError" => {
            "ResourcesAvailable"
        }
        _ => return None,
    };
    Some(Trouble { condition, reason, message })
}

fn missing_image(revision: &Revision, message: &str) -> RevisionStatus {
    let healthy =
        Condition::new("ContainerHealthy", ConditionStatus::False).because("ContainerMissing", message);
    let available = Condition::new("ResourcesAvailable", ConditionStatus::Unknown);
    let ready = summary(&[&available, &healthy]);
    RevisionStatus {
        observed_generation: revision.metadata.generation,
        conditions: vec![healthy, ready, available],
        ..RevisionStatus::default()
    }
}

fn status_of(
    revision: &Revision,
    pods: &[Pod],
    digests: Vec<ContainerDigest>,
    trouble: Option<Trouble>,
    desired: u32,
) -> RevisionStatus {
    let ready_pods = pods.iter().filter(|pod| pod_ready(pod)).count();
    let works = is_ready(revision) || ready_pods > 0;
    let part = |type_: &str| match &trouble {
        _ if works => Condition::new(type_, ConditionStatus::True),
        Some(trouble) if trouble.condition == type_ => {
            let message = match type_ {
                "ContainerHealthy" => format!("Container failed with: {}", trouble.message),
                _ => trouble.message.clone(),
            };
            Condition::new(type_, ConditionStatus::False).because(&trouble.reason, &message)
        }
        _ => Condition::new(type_, ConditionStatus::Unknown).because("Deploying", ""),
    };
    let (healthy, available) = (part("ContainerHealthy"), part("ResourcesAvailable"));
    let ready = summary(&[&available, &healthy]);
    let mut active = if ready_pods > 0 {
        Condition::new("Active", ConditionStatus::True)
    } else if works && desired == 0 {
        let message = "The target is not receiving traffic.";
        Condition::new("Active", ConditionStatus::False).because("NoTraffic", message)
    } else {
        let message = "Requests to the target are being buffered as resources are provisioned.";
        Condition::new("Active", ConditionStatus::Unknown).because("Queued", message)
    };
    active.severity = if ready_pods > 0 { String::new() } else { "Info".into() };
    RevisionStatus {
        observed_generation: revision.metadata.generation,
        conditions: vec![active, healthy, ready, available],
        container_statuses: digests,
        actual_replicas: i64::try_from(ready_pods).ok(),
        desired_replicas: Some(i64::from(desired)),
        ..RevisionStatus::default()
    }
}
