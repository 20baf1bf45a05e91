//! What the pods of a Revision tell of it: Knative itself says why they do not run only when its own deadline, ten minutes, is over.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};
use tm_resources::labels;

use crate::{
    commands::{Session, logs::function_container},
    target::Target,
};

/// Reasons of containers that will run in a moment.
const COMING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Lines of a failing instance's log that are shown.
const LOG_LINES: i64 = 20;

/// The pods of a Revision; none where they cannot be listed.
pub(super) async fn of(revision: &str, target: &Target) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let selector = format!("{}={revision}", labels::serving::REVISION);
    pods.list(&ListParams::default().labels(&selector)).await.map(|list| list.items).unwrap_or_default()
}

/// The first pod that is kept from running by more than time, and what keeps it.
pub(super) fn held_up(pods: &[Pod]) -> Option<String> {
    pods.iter().find_map(|pod| {
        let why = reasons(pod).join("; ");
        (!why.is_empty()).then(|| format!("pod {}: {why}", pod.name_any()))
    })
}

/// What keeps a pod from running: that no node takes it, or what its containers wait for or ended with.
fn reasons(pod: &Pod) -> Vec<String> {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default().into_iter();
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| joined([condition.reason, condition.message], ": "));
    let containers = status.container_statuses.unwrap_or_default();
    unscheduled.chain(containers.into_iter().filter_map(of_container)).collect()
}

fn of_container(container: ContainerStatus) -> Option<String> {
    let state = container.state.unwrap_or_default();
    let last = || container.last_state?.terminated;
    let end = state.terminated.or_else(last).filter(|end| end.exit_code != 0);
    let ended = end.map(|end| joined([end.reason, Some(format!("exit code {}", end.exit_code))], ", "));
    let waiting = state
        .waiting
        .filter(|waiting| waiting.reason.as_deref().is_some_and(|reason| !COMING.contains(&reason)));
    let waiting = waiting.map(|waiting| joined([waiting.reason, waiting.message], ": "));
    let why = joined([waiting, ended], "; ");
    (!why.is_empty()).then(|| format!("{}: {why}", container.name))
}

/// What there is of two texts.
fn joined(texts: [Option<String>; 2], between: &str) -> String {
    texts.into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(between)
}

/// The end of a pod's log: of the run before, when its container was started again and has said nothing yet.
pub(super) async fn show_log(pod: &Pod, target: &Target, session: &Session) {
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
    use serde_json::{Value, json};

    use super::*;

    fn of_status(status: Value) -> Option<String> {
        let pod = json!({"metadata": {"name": "p"}, "status": status});
        held_up(&[serde_json::from_value(pod).expect("it is a pod")])
    }

    fn of_states(state: Value, last: Value) -> Option<String> {
        of_status(json!({"containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state, "lastState": last,
        }]}))
    }

    #[test]
    fn no_node_takes_it() {
        let nodes = "0/1 nodes are available: 1 Insufficient cpu.";
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": nodes});
        let why = of_status(json!({"conditions": [condition]}));
        assert_eq!(why, Some(format!("pod p: Unschedulable: {nodes}")));
    }

    #[test]
    fn containers_wait_or_have_ended() {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "m"}});
        let end = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let why = |text: &str| Some(format!("pod p: c: {text}"));
        assert_eq!(of_states(waiting("ErrImagePull"), json!({})), why("ErrImagePull: m"));
        assert_eq!(of_states(end.clone(), json!({})), why("OOMKilled, exit code 137"));
        let again = of_states(waiting("CrashLoopBackOff"), end);
        assert_eq!(again, why("CrashLoopBackOff: m; OOMKilled, exit code 137"));
    }

    #[test]
    fn what_is_a_matter_of_time() {
        for state in [
            json!({"waiting": {"reason": "ContainerCreating"}}),
            json!({"running": {}}),
            json!({"terminated": {"exitCode": 0}}),
        ] {
            assert_eq!(of_states(state, json!({})), None);
        }
    }
}
