//! What the world is told of a pod: its status, and Events.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    super::{
        super::{
            Exit,
            status::{State, pod_status},
        },
        results,
    },
    Actor, CreateError, chain,
};
use crate::{autoscaler::duration_text, events::Teller};

/// How much of a failed container's output becomes its termination message (Kubernetes: 80 lines, 2048 bytes).
const MESSAGE_LINES: usize = 80;
const MESSAGE_BYTES: usize = 2048;

// === impl Actor ===

impl Actor {
    /// Tells what happened to the pod.
    pub(super) fn note(&self, reason: &'static str, message: String) {
        self.kubelet.events.note(&self.pod, Teller::Kubelet, reason, message);
    }

    /// Tells what went wrong with it.
    pub(super) fn warn(&self, reason: &'static str, message: String) {
        self.kubelet.events.warn(&self.pod, Teller::Kubelet, reason, message);
    }

    /// Reports what keeps the pod from starting, in Kubernetes' words.
    pub(super) async fn fail_to_start(&self, index: usize, error: &CreateError) {
        let (reason, message) = match error {
            CreateError::Image(error) => ("ErrImagePull", chain(error)),
            CreateError::Volume(error) => ("CreateContainerConfigError", chain(error)),
            CreateError::Start(error) => ("RunContainerError", chain(error)),
        };
        tracing::warn!(pod = %self.pod.name_any(), reason, message, "a container did not start");
        let what = if reason == "ErrImagePull" { "Failed to pull image" } else { "Error" };
        self.warn("Failed", format!("{what}: {message}"));
        self.set_state(index, State::Waiting { reason, message });
        self.report().await;
    }

    pub(super) async fn cannot_create(&self, error: &CreateError) {
        self.warn("Failed", format!("Error: {}", chain(error)));
        for run in self.runs().iter_mut() {
            run.state = State::Waiting { reason: "CreateContainerConfigError", message: chain(error) };
        }
        self.report().await;
    }

    pub(super) async fn report(&self) {
        let _one = self.reporting.lock().await;
        let status = pod_status(&self.pod, &self.runs(), self.started);
        // With the UID: a pod of the same name that was made since is another pod.
        self.patch_status(&json!({"metadata": {"uid": self.uid}, "status": status})).await;
    }

    async fn patch_status(&self, patch: &serde_json::Value) {
        let name = self.pod.name_any();
        let result = self.api().patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match result {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => tracing::warn!(pod = name, %error, "failed to report a pod's status"),
        }
    }

    /// A step after a failed one: Tekton lets it end with code 1 at once.
    pub(super) fn skip(&self, index: usize) {
        let now = Timestamp::now();
        let message = results::SKIPPED.to_owned();
        let skipped = State::Terminated { since: now, until: now, code: 1, reason: "Error", message };
        self.set_state(index, skipped);
    }

    pub(super) fn ended(&self, index: usize, exit: Exit) {
        let name = self.name(index);
        self.kubelet.slot(&self.uid, name).log.close();
        self.kubelet.set_running(&self.uid, name, None);
        let message = if self.sequential() {
            results::termination_message(&self.dir.join("tekton/results"))
        } else if exit.code != 0 && self.falls_back_to_log(index) {
            self.kubelet.slot(&self.uid, name).log.last_words(MESSAGE_LINES, MESSAGE_BYTES)
        } else {
            String::new()
        };
        let reason = if exit.code == 0 { "Completed" } else { "Error" };
        let run = &mut self.runs()[index];
        let since = match run.state {
            State::Running { since } => since,
            _ => Timestamp::now(),
        };
        run.ready = false;
        run.state = State::Terminated { since, until: Timestamp::now(), code: exit.code, reason, message };
    }

    /// Whether the end of a failed container's output is its termination message.
    fn falls_back_to_log(&self, index: usize) -> bool {
        self.containers()[index].termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
    }

    pub(super) async fn crash_loop(&self, index: usize, pause: Duration) {
        let failed = format!(
            "restarting failed container={} pod={}_{}({})",
            self.name(index),
            self.pod.name_any(),
            self.namespace,
            self.uid
        );
        let message = format!("back-off {} {failed}", duration_text(pause));
        {
            let run = &mut self.runs()[index];
            run.restarts += 1;
            let waiting = State::Waiting { reason: "CrashLoopBackOff", message };
            run.last = Some(std::mem::replace(&mut run.state, waiting));
        }
        let (name, pod) = (self.name(index), self.pod.name_any());
        let place = format!("{name} in pod {pod}_{}({})", self.namespace, self.uid);
        self.warn("BackOff", format!("Back-off restarting failed container {place}"));
        self.report().await;
    }

    pub(super) fn tell_killing(&self) {
        for container in self.containers() {
            if self.kubelet.slot(&self.uid, &container.name).running.is_some() {
                self.note("Killing", format!("Stopping container {}", container.name));
            }
        }
    }
}
