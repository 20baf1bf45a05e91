//! One pod from its first status to its last.

mod report;
mod start;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use fs_err as fs;
use futures::FutureExt;
use k8s_openapi::{
    api::core::v1::{Container, Pod},
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use tm_resources::labels::tm::ISOLATION;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Exit, StartError,
        image::ImageError,
        status::{ContainerRun, State},
        volumes::{self, VolumeError},
    },
    Deletion, Kubelet, PORT, SCRIPT, SEQUENTIAL, SHUTDOWN_GRACE, SKIP, TIME_LIMIT, port,
    readiness::Readiness,
};
use crate::{api::NODE_NAME, events::Teller, go_duration};

/// First and longest pause before a container that ended is started again (Kubernetes: 10 s to 5 min; a machine of one's
/// own is not shared, so the first retry comes sooner).
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Pause before an image, a Secret or whatever else was missing is asked for again.
const MISSING_RETRY: Duration = Duration::from_secs(10);

/// Runs the pod until it is deleted or the engine ends.
pub(super) async fn run(kubelet: Arc<Kubelet>, pod: Pod, mut deletion: Deletion, stop: CancellationToken) {
    let mut actor = Actor::new(kubelet, pod);
    if actor.ended_before() {
        told_to_end(&mut deletion, &stop).await;
    } else {
        // Boxed: the future of a pod's whole life is large, and there is one for each pod.
        let life = actor.live().boxed();
        tokio::select! {
            () = life.then(|()| std::future::pending::<()>()) => {}
            () = told_to_end(&mut deletion, &stop) => {}
        }
    }
    actor.end(deletion, stop).await;
}

async fn told_to_end(deletion: &mut Deletion, stop: &CancellationToken) {
    tokio::select! {
        _ = deletion.wait_for(Option::is_some) => {}
        () = stop.cancelled() => {}
    }
}

/// How long containers get now; the engine's own end shortens a pod's.
fn grace(deletion: &Deletion, stop: &CancellationToken) -> Duration {
    let given = deletion.borrow().unwrap_or(SHUTDOWN_GRACE);
    if stop.is_cancelled() { given.min(SHUTDOWN_GRACE) } else { given }
}

struct Actor {
    kubelet: Arc<Kubelet>,
    pod: Pod,
    uid: String,
    namespace: String,
    dir: PathBuf,
    started: Timestamp,
    /// Where each container is; written by the container's own future.
    runs: Mutex<Vec<ContainerRun>>,
    /// Held while a status is written: an older one must not arrive after a newer one.
    reporting: tokio::sync::Mutex<()>,
    /// Port the pod listens on; 0 is none.
    port: AtomicU16,
    places: BTreeMap<String, PathBuf>,
}

/// Why a container cannot be made.
#[derive(Debug, thiserror::Error)]
enum CreateError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Start(#[from] StartError),
}

// === impl Actor ===

impl Actor {
    fn new(kubelet: Arc<Kubelet>, pod: Pod) -> Self {
        let uid = pod.uid().unwrap_or_default();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let runs =
            containers.map(|c| ContainerRun::new(&c.name, c.image.as_deref().unwrap_or_default())).collect();
        let namespace = pod.namespace().unwrap_or_default();
        let dir = kubelet.pod_dir(&uid);
        Self {
            kubelet,
            pod,
            uid,
            namespace,
            dir,
            started: Timestamp::now(),
            runs: Mutex::new(runs),
            reporting: tokio::sync::Mutex::default(),
            port: AtomicU16::new(0),
            places: BTreeMap::new(),
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.kubelet.client.clone(), &self.namespace)
    }

    fn phase(&self) -> &str {
        self.pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
    }

    fn sequential(&self) -> bool {
        self.pod.annotations().get(SEQUENTIAL).is_some_and(|value| value == "true")
    }

    fn restarts(&self) -> bool {
        self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) != Some("Never")
    }

    /// Whether the pod had its life under an earlier engine.
    fn ended_before(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    fn runs(&self) -> MutexGuard<'_, Vec<ContainerRun>> {
        self.runs.lock().expect("no holder of this lock panics")
    }

    fn containers(&self) -> &[Container] {
        self.pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default()
    }

    /// Name of a container.
    fn name(&self, index: usize) -> &str {
        &self.containers()[index].name
    }

    fn set_state(&self, index: usize, state: State) {
        self.runs()[index].state = state;
    }

    /// Everything between creation and the last status.
    async fn live(&mut self) {
        let place =
            format!("Successfully assigned {}/{} to {NODE_NAME}", self.namespace, self.pod.name_any());
        self.kubelet.events.note(&self.pod, Teller::Scheduler, "Scheduled", place);
        while let Err(error) = self.prepare().await {
            self.cannot_create(&error).await;
            if !self.restarts() {
                return;
            }
            sleep(MISSING_RETRY).await;
        }
        if self.sequential() {
            return self.run_in_turn().await;
        }
        let all = (0..self.containers().len()).map(|index| self.keep_running(index).boxed());
        futures::future::join_all(all).await;
    }

    async fn prepare(&mut self) -> Result<(), CreateError> {
        crate::paths::private_dir(&self.dir, 0o711).map_err(VolumeError::from)?;
        fs::create_dir_all(self.dir.join("log")).map_err(VolumeError::from)?;
        for folder in ["tmp", "tekton", "tekton/results", "tekton/home"] {
            let folder = self.dir.join(folder);
            crate::paths::private_dir(&folder, 0o755).map_err(VolumeError::from)?;
            volumes::give_to_container(&folder).map_err(VolumeError::from)?;
        }
        crate::paths::private_dir(&self.dir.join("steps"), 0o755).map_err(VolumeError::from)?;
        self.write_scripts().map_err(VolumeError::from)?;
        let folder = self.dir.join("volumes");
        let client = &self.kubelet.client;
        self.places = volumes::prepare(client, &self.pod, &self.namespace, &folder).await?;
        if (0..self.containers().len()).any(|index| self.serves(index)) {
            self.choose_port().await?;
        } else {
            self.annotate(json!({ISOLATION: self.isolation()})).await?;
        }
        Ok(())
    }

    /// Scripts of steps come as annotations; each becomes an executable file.
    fn write_scripts(&self) -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.dir.join("tekton/scripts");
        for (key, text) in self.pod.annotations() {
            if let Some(index) = key.strip_prefix(SCRIPT).and_then(|index| index.parse::<usize>().ok()) {
                crate::paths::private_dir(&folder, 0o755)?;
                let file = folder.join(format!("script-{index}"));
                fs::write(&file, text)?;
                fs::set_permissions(&file, PermissionsExt::from_mode(0o755))?;
            }
        }
        Ok(())
    }

    /// Whether requests go to this container (Knative: the one with a port).
    fn serves(&self, index: usize) -> bool {
        self.containers()[index].ports.as_ref().is_some_and(|ports| !ports.is_empty())
    }

    /// The port a container listens on.
    fn port_of(&self, index: usize) -> Option<u16> {
        let port = self.port.load(Ordering::Relaxed);
        (port != 0 && self.serves(index)).then_some(port)
    }

    /// A free port of the loopback. All pods share the machine's network, so the pod's own port number means nothing;
    /// the container learns the chosen one as `PORT` and the ingress reads it from the annotation [`PORT`].
    async fn choose_port(&self) -> Result<(), VolumeError> {
        let port = port::free()?;
        self.annotate(json!({PORT: port.to_string(), ISOLATION: self.isolation()})).await?;
        self.port.store(port, Ordering::Relaxed);
        Ok(())
    }

    async fn annotate(&self, annotations: serde_json::Value) -> Result<(), VolumeError> {
        let patch = json!({"metadata": {"annotations": annotations}});
        let name = self.pod.name_any();
        self.api().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(Box::new)?;
        Ok(())
    }

    fn isolation(&self) -> &'static str {
        self.kubelet.runner.isolation_kind()
    }

    /// Runs one container, again and again when the pod's restart policy says so.
    async fn keep_running(&self, index: usize) {
        let mut pause = RESTART.0;
        loop {
            if let Err(error) = self.start(index).await {
                self.fail_to_start(index, &error).await;
                if !self.restarts() {
                    return;
                }
                sleep(MISSING_RETRY).await;
                continue;
            }
            let begun = tokio::time::Instant::now();
            let exit = self.wait_ready_or_end(index).await;
            let was_ready = self.runs()[index].ready;
            self.ended(index, exit);
            if !self.restarts() {
                return self.report().await;
            }
            if begun.elapsed() > RESTART.1 {
                pause = RESTART.0;
            }
            self.crash_loop(index, pause).await;
            sleep(pause).await;
            pause = (pause * 2).min(RESTART.1);
            // Somebody else may have taken the port between its choice and its use.
            if self.serves(index)
                && !was_ready
                && let Err(error) = self.choose_port().await
            {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(pod = %self.pod.name_any(), error, "failed to choose another port");
            }
        }
    }

    /// Reports the container as running, then as ready once its port answers; returns when it ended.
    async fn wait_ready_or_end(&self, index: usize) -> Exit {
        let Some(container) = self.kubelet.slot(&self.uid, self.name(index)).running else {
            return Exit { code: 255 };
        };
        let Some(port) = self.port_of(index) else {
            self.runs()[index].ready = true;
            self.report().await;
            return container.wait().await;
        };
        let readiness = Readiness::of(&self.containers()[index], port);
        let mut ready = std::pin::pin!(readiness.reached());
        // A quick start is reported once, as ready; a slow one as running first.
        let quick = tokio::select! {
            exit = container.wait() => return exit,
            () = &mut ready => true,
            () = sleep(Duration::from_millis(200)) => false,
        };
        if !quick {
            self.report().await;
            tokio::select! {
                exit = container.wait() => return exit,
                () = &mut ready => {}
            }
        }
        self.runs()[index].ready = true;
        self.report().await;
        container.wait().await
    }

    /// Runs the containers one after the other, as Tekton's steps.
    async fn run_in_turn(&self) {
        for run in self.runs().iter_mut() {
            run.state = State::waiting("PodInitializing");
        }
        let mut failed = false;
        for index in 0..self.containers().len() {
            if failed || self.listed(SKIP, index) {
                self.skip(index, i32::from(failed));
                continue;
            }
            if let Err(error) = self.start(index).await {
                return self.fail_to_start(index, &error).await;
            }
            self.report().await;
            let (exit, timed_out) = self.wait_in_time(index).await;
            self.step_ended(index, exit, timed_out);
            failed = self.runs()[index].state.failed();
        }
        self.report().await;
        self.clear();
    }

    /// Waits for the end of a container; one that takes longer than it may is killed.
    async fn wait_in_time(&self, index: usize) -> (Exit, bool) {
        let Some(container) = self.kubelet.slot(&self.uid, self.name(index)).running else {
            return (Exit { code: 255 }, false);
        };
        let limit = self.pod.annotations().get(&format!("{TIME_LIMIT}{index}"));
        let Some(limit) = limit.and_then(|text| go_duration::parse(text)).filter(|limit| !limit.is_zero())
        else {
            return (container.wait().await, false);
        };
        match timeout(limit, container.wait()).await {
            Ok(exit) => (exit, false),
            Err(_) => (container.stop(Duration::ZERO).await, true),
        }
    }

    /// Whether the comma list of an annotation names the container.
    fn listed(&self, annotation: &str, index: usize) -> bool {
        let list = self.pod.annotations().get(annotation).map(String::as_str).unwrap_or_default();
        list.split(',').any(|listed| listed == self.name(index))
    }

    /// Removes what only running containers need: a build's workspace is large, its log is not.
    fn clear(&self) {
        for folder in ["volumes", "tmp", "tekton", "steps"] {
            if let Err(error) = super::remove_tree(&self.dir.join(folder)) {
                tracing::warn!(pod = %self.pod.name_any(), %error, "failed to remove a pod's volumes");
            }
        }
    }

    /// Stops the containers. When the pod is being deleted its object goes last; a later word may shorten the grace.
    async fn end(&self, mut deletion: Deletion, stop: CancellationToken) {
        self.tell_killing();
        loop {
            let stopping = self.stop_all(grace(&deletion, &stop));
            tokio::select! {
                () = stopping => break,
                Ok(()) = deletion.changed() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        if deletion.borrow().is_none() {
            return;
        }
        // A pod of the same name that was made since is another pod.
        let this = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let now = DeleteParams::default().grace_period(0).preconditions(this);
        if let Err(error) = self.api().delete(&self.pod.name_any(), &now).await
            && !matches!(&error, kube::Error::Api(status) if [404, 409].contains(&status.code))
        {
            tracing::warn!(pod = %self.pod.name_any(), %error, "failed to remove a pod");
        }
        self.kubelet.forget(&self.uid);
    }

    async fn stop_all(&self, grace: Duration) {
        let running = self.kubelet.running_of(&self.uid);
        futures::future::join_all(running.iter().map(|container| container.stop(grace))).await;
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
