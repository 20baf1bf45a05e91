//! What the world is told of a pod: its status, and Events.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use fs_err as fs;
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
        MAY_FAIL, results,
        results::Told,
    },
    Actor, CreateError, chain,
};
use crate::{events::Teller, go_duration};

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

    /// A step that is not run: with code 1 after a failed one, else with 0.
    pub(super) fn skip(&self, index: usize, code: i32) {
        let now = Timestamp::now();
        let reason = if code == 0 { "Completed" } else { "Error" };
        let message = Told::Skipped.message();
        self.set_state(index, State::Terminated { since: now, until: now, code, reason, message });
    }

    pub(super) fn ended(&self, index: usize, exit: Exit) {
        let message = if exit.code != 0 && self.falls_back_to_log(index) {
            self.kubelet.slot(&self.uid, self.name(index)).log.last_words(MESSAGE_LINES, MESSAGE_BYTES)
        } else {
            String::new()
        };
        self.over(index, exit.code, message);
    }

    /// A step ended. One that may fail ends well for Kubernetes, as with Tekton's entrypoint, and tells its code.
    pub(super) fn step_ended(&self, index: usize, exit: Exit, timed_out: bool) {
        let (code, told) = match exit.code {
            _ if timed_out => (1, Some(Told::TimedOut)),
            0 => (0, None),
            code if self.listed(MAY_FAIL, index) => (0, Some(Told::Continued(code))),
            code => (code, None),
        };
        self.leave_exit_code(index, exit.code);
        self.over(index, code, results::termination_message(&self.dir.join("tekton/results"), told));
    }

    /// Later steps read it at `$(steps.step-NAME.exitCode.path)`. Steps cannot write there.
    fn leave_exit_code(&self, index: usize, code: i32) {
        let folder = self.dir.join("steps").join(self.name(index));
        if let Err(error) = write_exit_code(&folder, code) {
            tracing::warn!(pod = %self.pod.name_any(), %error, "failed to leave a step's exit code");
        }
    }

    fn over(&self, index: usize, code: i32, message: String) {
        let name = self.name(index);
        self.kubelet.slot(&self.uid, name).log.close();
        self.kubelet.set_running(&self.uid, name, None);
        let reason = if code == 0 { "Completed" } else { "Error" };
        let run = &mut self.runs()[index];
        let since = match run.state {
            State::Running { since } => since,
            _ => Timestamp::now(),
        };
        run.ready = false;
        run.state = State::Terminated { since, until: Timestamp::now(), code, reason, message };
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
        let message = format!("back-off {} {failed}", go_duration::text(pause));
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

fn write_exit_code(folder: &Path, code: i32) -> std::io::Result<()> {
    crate::paths::private_dir(folder, 0o755)?;
    let file = folder.join("exitCode");
    fs::write(&file, code.to_string())?;
    // Whatever the engine's umask is, steps may have another user.
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644))
}
