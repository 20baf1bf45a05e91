//! Waiting for a Service: until this generation is ready, or a failure has lasted, or the time is up.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tm_resources::{
    condition::{Verdict, find, verdict},
    labels,
    serving::{Revision, Service},
};
use tokio::time::{Instant, timeout_at};

use super::super::{Session, logs::function_container};
use crate::{error::HintExt, settings::ServiceSettings, target::Target, wait::human};

/// How long a failure must last: a first False may be of the old Revision, or go away by itself (kn waits 2 s).
const ERROR_WINDOW: Duration = Duration::from_secs(5);
/// Reason of a container that waits for nothing in particular.
const BEING_CREATED: &str = "ContainerCreating";
/// Lines of a failing instance's log that are shown.
const LOG_LINES: i64 = 20;

/// What was seen last.
struct Seen {
    state: String,
    failing_since: Option<Instant>,
}

/// Waits until the generation that was applied is ready.
pub(super) async fn wait(
    services: &Api<Service>,
    settings: &ServiceSettings,
    applied: &Service,
    target: &Target,
    session: &Session,
) -> Result<Service> {
    let name = &settings.name;
    let step = session.printer.step(format!("Waiting for service \"{name}\" ready state"));
    let deadline = Instant::now() + settings.wait_timeout;
    let mut seen = Seen { state: "nothing was heard of it".into(), failing_since: None };
    let mut objects = watch_object(services.clone(), name).default_backoff().boxed();
    loop {
        let until = seen.failing_since.map_or(deadline, |since| deadline.min(since + ERROR_WINDOW));
        match timeout_at(until, objects.next()).await {
            Err(_) if seen.failing_since.is_some() => {
                return Err(explain(settings, &seen.state, target, session).await);
            }
            Err(_) => return timed_out(settings, &seen.state),
            Ok(None) => bail!("the watch of the service `{name}` ended"),
            Ok(Some(Err(error))) => seen.state = format!("the API server does not answer: {error}"),
            Ok(Some(Ok(None))) => bail!("the service `{name}` was deleted while it was waited for"),
            Ok(Some(Ok(Some(service)))) => {
                if seen.look(&service, applied.metadata.generation) {
                    step.done();
                    return Ok(service);
                }
                step.state(&seen.state);
            }
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Takes the object in; `true` when it is ready.
    fn look(&mut self, service: &Service, wanted: Option<i64>) -> bool {
        let status = service.status.clone().unwrap_or_default();
        match verdict(&status.conditions, "Ready", wanted, status.observed_generation) {
            Verdict::Ready => return true,
            Verdict::Waiting(state) => {
                self.failing_since = None;
                self.state = state;
            }
            Verdict::Failed { reason, message } => {
                self.failing_since.get_or_insert_with(Instant::now);
                self.state = format!("{reason}: {message}");
            }
        }
        false
    }
}

fn timed_out(settings: &ServiceSettings, state: &str) -> Result<Service> {
    let limit = human(settings.wait_timeout);
    let text = format!("the service `{}` was not ready within {limit}", settings.name);
    Err(anyhow!(state.to_owned()).context(text))
        .hint("`tm logs` and `tm describe service` say more; --wait-timeout waits longer")
}

/// Why the service is not ready: its condition, the newest Revision's, what its instances wait for, the end of their log.
async fn explain(
    settings: &ServiceSettings,
    state: &str,
    target: &Target,
    session: &Session,
) -> anyhow::Error {
    let mut reasons = vec![state.to_owned()];
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    let revisions: Api<Revision> = Api::namespaced(target.client.clone(), &target.namespace);
    let newest = services.get(&settings.name).await.ok().and_then(|s| s.status?.latest_created_revision_name);
    if let Some(name) = newest {
        if let Ok(revision) = revisions.get(&name).await {
            let conditions = revision.status.unwrap_or_default().conditions;
            let ready = find(&conditions, "Ready").map(|condition| condition.text());
            reasons.extend(
                ready
                    .filter(|text| !state.contains(text.as_str()))
                    .map(|text| format!("revision {name}: {text}")),
            );
        }
        let pods = instances(&name, target).await;
        let found = pods.iter().flat_map(pod_reasons);
        for reason in found {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if let Some(pod) = pods.first() {
            show_log(pod, target, session).await;
        }
    }
    let text = format!("the service `{}` did not become ready", settings.name);
    let error: Result<()> = Err(anyhow!(reasons.join("; ")).context(text));
    let hint = format!("`tm describe service {}` shows all conditions", settings.name);
    error.hint(hint).expect_err("it is an error")
}

/// The pods of a Revision; none where they cannot be listed.
async fn instances(revision: &str, target: &Target) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let selector = format!("{}={revision}", labels::serving::REVISION);
    pods.list(&ListParams::default().labels(&selector)).await.map(|list| list.items).unwrap_or_default()
}

/// What keeps a pod from running: that no node takes it, or what its containers wait for or ended with.
fn pod_reasons(pod: &Pod) -> Vec<String> {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default().into_iter();
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| with_message(condition.reason, condition.message));
    let containers = status.container_statuses.unwrap_or_default().into_iter().filter_map(|container| {
        let state = container.state.unwrap_or_default();
        let waiting =
            state.waiting.filter(|waiting| !matches!(waiting.reason.as_deref(), Some(BEING_CREATED) | None));
        let waiting = waiting.map(|waiting| with_message(waiting.reason, waiting.message));
        let last = || container.last_state?.terminated;
        let ended = || {
            let end = state.terminated.or_else(last).filter(|end| end.exit_code != 0)?;
            let code = format!("exit code {}", end.exit_code);
            Some(end.reason.map_or(code.clone(), |reason| format!("{reason}, {code}")))
        };
        let why = [waiting, ended()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        (!why.is_empty()).then(|| format!("{}: {why}", container.name))
    });
    unscheduled.chain(containers).collect()
}

fn with_message(reason: Option<String>, message: Option<String>) -> String {
    [reason, message].into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
}

/// The end of a pod's log: of the run before, when its container was started again and has said nothing yet.
async fn show_log(pod: &Pod, target: &Target, session: &Session) {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    for previous in [false, true] {
        let params = LogParams {
            container: function_container(pod).map(str::to_owned),
            tail_lines: Some(LOG_LINES),
            previous,
            ..LogParams::default()
        };
        if let Ok(text) = pods.logs(&pod.name_any(), &params).await
            && !text.is_empty()
        {
            session.printer.note(&format!("The end of the log of {}:", pod.name_any()));
            session.printer.note(text.trim_end());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_keeps_a_pod_from_running() {
        let reasons = |status: serde_json::Value| {
            pod_reasons(&serde_json::from_value(json!({"status": status})).expect("it is a pod"))
        };
        let full = "0/1 nodes are available: 1 Insufficient cpu.";
        let pending = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": full}]});
        assert_eq!(reasons(pending), [format!("Unschedulable: {full}")]);
        let container = |state: serde_json::Value, last: serde_json::Value| {
            json!({"containerStatuses": [{"name": "user-container", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": state, "lastState": last}]})
        };
        let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}});
        assert_eq!(
            reasons(container(pull, json!({}))),
            ["user-container: ImagePullBackOff: Back-off pulling image"]
        );
        let crash = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let end = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(
            reasons(container(crash, end)),
            ["user-container: CrashLoopBackOff; OOMKilled, exit code 137"]
        );
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        assert!(reasons(container(creating, json!({}))).is_empty());
    }
}
