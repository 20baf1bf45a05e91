//! Revision: resolves the image, keeps as many pods as the autoscaler wants, and says whether the Revision works.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{EnvVar, Pod, PodSpec},
    jiff::Timestamp,
};
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
use crate::{autoscaler::is_hpa, events::Teller, go_duration, runner::kubelet::chain};

/// Port containers think they listen on (Knative's default); the kubelet chooses the real one.
const DEFAULT_PORT: i32 = 8080;
/// How long a new Revision may take to become ready (Knative: `config-deployment`), unless the annotation says.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(600);
/// Pause before an image that could not be resolved is asked for again.
const IMAGE_RETRY: Duration = Duration::from_secs(30);

/// Container that `kubectl logs` and `kubectl exec` take when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// How Knative begins the message of a container that ended.
const FAILED_WITH: &str = "Container failed with: ";

/// What is wrong with the pods, in Knative's words.
#[derive(Debug)]
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
            context.events.warn(&*revision, Teller::Serving("revision"), "InternalError", message);
            return Ok(Action::requeue(IMAGE_RETRY));
        }
    };
    if revision.status.is_none() && is_hpa(&revision) {
        let message =
            "the embedded engine scales by requests, from one pod on: it measures no processor and no memory";
        context.events.warn(&*revision, Teller::Serving("revision"), "AutoscalerClassUnsupported", message);
    }
    let was_ready = is_ready(&revision);
    let gate = context.autoscaler.configure(&reference, &revision, was_ready);
    let left = time_left(&revision, context.began).filter(|_| !was_ready);
    // A Revision that was never ready in time gets no more pods (Knative scales it to zero).
    let desired = if left == Some(Duration::ZERO) { 0 } else { gate.desired() };
    let pods = living_pods(&revision, &context).await?;
    scale(&revision, &context, &pods, desired, &digests).await?;
    let trouble = pods.iter().find_map(trouble).or_else(|| late(left, &revision));
    gate.fail(trouble.as_ref().map(|trouble| format!("{}: {}", trouble.reason, trouble.message)));
    let status = status_of(&revision, &pods, digests, trouble, desired);
    context.write_status(&*revision, revision.status.as_ref(), &status).await?;
    Ok(match left.filter(|left| !left.is_zero()) {
        Some(left) => Action::requeue(left + Duration::from_secs(1)),
        None => Action::await_change(),
    })
}

/// What is left of the time to become ready; `None` for a Revision without a creation time.
fn time_left(revision: &Revision, began: Timestamp) -> Option<Duration> {
    let given = revision.annotations().get(labels::serving::PROGRESS_DEADLINE);
    let limit = given.and_then(|text| go_duration::parse(text)).unwrap_or(PROGRESS_DEADLINE);
    let from = revision.metadata.creation_timestamp.as_ref()?.0.max(began);
    let age = Timestamp::now().duration_since(from);
    Some(limit.saturating_sub(age.try_into().unwrap_or_default()))
}

/// Too late: what kept the pods from running says more than that, if it was said before they went.
fn late(left: Option<Duration>, revision: &Revision) -> Option<Trouble> {
    if left != Some(Duration::ZERO) {
        return None;
    }
    let conditions = revision.status.iter().flat_map(|status| &status.conditions);
    let parts =
        |condition: &&Condition| ["ContainerHealthy", "ResourcesAvailable"].contains(&&*condition.type_);
    let mut failed = conditions.filter(parts).filter(|condition| condition.status == ConditionStatus::False);
    Some(match failed.next() {
        Some(known) => Trouble {
            condition: if known.type_ == "ContainerHealthy" {
                "ContainerHealthy"
            } else {
                "ResourcesAvailable"
            },
            reason: known.reason.clone().unwrap_or_default(),
            message: known.message.clone().unwrap_or_default().trim_start_matches(FAILED_WITH).to_owned(),
        },
        None => Trouble {
            condition: "ResourcesAvailable",
            reason: "ProgressDeadlineExceeded".into(),
            message: "Initial scale was never achieved".into(),
        },
    })
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
                format!(
                    "Unable to fetch image \"{image}\": failed to resolve image to digest: {}",
                    chain(&error)
                )
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
        // Pods of a deleted Revision of the same name are not its.
        let own = pod.owner_references().iter().any(|owner| Some(&owner.uid) == revision.uid().as_ref());
        if !own || pod.metadata.deletion_timestamp.is_some() {
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
    labels.remove(labels::serving::ROUTING_STATE);
    labels.insert(labels::serving::REVISION.into(), name.clone());
    labels.insert(labels::serving::REVISION_UID.into(), revision.uid().unwrap_or_default());
    labels.insert("app".into(), name.clone());
    let mut annotations = revision.annotations().clone();
    annotations.retain(|key, _| !of_the_revision(key));
    let only_one = revision.spec.containers.len() == 1;
    let mut containers = revision.spec.containers.clone();
    for container in &mut containers {
        let digest = digests.iter().find(|digest| digest.name == container.name);
        container.image = digest.and_then(|digest| digest.image_digest.clone()).or(container.image.take());
        // A failed container's last output says why it failed (Knative).
        container.termination_message_policy.get_or_insert_with(|| "FallbackToLogsOnError".into());
        let serves = only_one || container.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        if serves {
            give_port(container, revision);
            annotations.insert(DEFAULT_CONTAINER.into(), container.name.clone());
        }
    }
    let metadata = ObjectMeta {
        generate_name: Some(names::child(&name, "-deployment-")),
        namespace: revision.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
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

/// Annotations that say something of the Revision and nothing of its pods (Knative leaves the same ones out).
fn of_the_revision(key: &str) -> bool {
    [labels::serving::ROUTES, labels::serving::ROUTING_STATE_MODIFIED].contains(&key)
        || key.starts_with("autoscaling.knative.dev/")
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
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let message = waiting.message.clone().unwrap_or_default();
        let reason = waiting.reason.clone()?;
        let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        match (reason.as_str(), last) {
            ("CrashLoopBackOff", Some(last)) => {
                let reason = format!("ExitCode{}", last.exit_code);
                let message = last.message.clone().unwrap_or_default();
                Some(Trouble { condition: "ContainerHealthy", reason, message })
            }
            ("CrashLoopBackOff", None) => Some(Trouble { condition: "ContainerHealthy", reason, message }),
            ("ErrImagePull" | "ImagePullBackOff" | "CreateContainerConfigError" | "RunContainerError", _) => {
                Some(Trouble { condition: "ResourcesAvailable", reason, message })
            }
            _ => None,
        }
    })
}

fn missing_image(revision: &Revision, message: &str) -> RevisionStatus {
    let healthy =
        Condition::new("ContainerHealthy", ConditionStatus::False).because("ContainerMissing", message);
    let available =
        Condition::new("ResourcesAvailable", ConditionStatus::Unknown).because("ResolvingDigests", "");
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
                "ContainerHealthy" => format!("{FAILED_WITH}{}", trouble.message),
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
    } else if desired == 0 {
        let message = "The target is not receiving traffic.";
        Condition::new("Active", ConditionStatus::False).because("NoTraffic", message)
    } else {
        let message = "Requests to the target are being buffered as resources are provisioned.";
        Condition::new("Active", ConditionStatus::Unknown).because("Queued", message)
    };
    active.severity = "Info".into();
    RevisionStatus {
        observed_generation: revision.metadata.generation,
        conditions: vec![active, healthy, ready, available],
        container_statuses: digests,
        actual_replicas: i64::try_from(ready_pods).ok(),
        desired_replicas: Some(i64::from(desired)),
        ..RevisionStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn created(seconds_ago: i64, deadline: Option<&str>) -> Revision {
        let mut revision = Revision::default();
        let time = Timestamp::from_second(Timestamp::now().as_second() - seconds_ago).expect("a time");
        revision.metadata.creation_timestamp = Some(Time(time));
        revision.metadata.annotations =
            deadline.map(|text| [(labels::serving::PROGRESS_DEADLINE.to_owned(), text.to_owned())].into());
        revision
    }

    #[test]
    fn a_revision_that_takes_too_long_fails() {
        let time_left = |revision: &Revision| time_left(revision, Timestamp::UNIX_EPOCH);
        assert!(time_left(&created(1, None)).is_some_and(|left| left > Duration::from_secs(590)));
        assert_eq!(time_left(&created(601, None)), Some(Duration::ZERO));
        assert_eq!(time_left(&created(31, Some("30s"))), Some(Duration::ZERO));
        let revision = created(601, None);
        let why = late(time_left(&revision), &revision).expect("it is late");
        assert_eq!((why.condition, why.reason.as_str()), ("ResourcesAvailable", "ProgressDeadlineExceeded"));
        let status = status_of(&revision, &[], Vec::new(), Some(why), 0);
        let ready =
            status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("it is there");
        assert_eq!(ready.text(), "ProgressDeadlineExceeded: Initial scale was never achieved");
    }

    #[test]
    fn a_container_that_ended_is_named_by_its_exit_code() {
        let pod: Pod = serde_json::from_value(json!({"status": {"containerStatuses": [
            {"name": "side", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
             "state": {"running": {}}},
            {"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
             "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1s"}},
             "lastState": {"terminated": {"exitCode": 3, "message": "dying\n"}}},
        ]}}))
        .expect("a pod");
        let found = trouble(&pod).expect("it is in trouble");
        assert_eq!((found.condition, found.reason.as_str()), ("ContainerHealthy", "ExitCode3"));
        assert_eq!(found.message, "dying\n", "the container's own last words, as Knative shows them");
    }
}
