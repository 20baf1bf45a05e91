//! One pod from its first status to its last.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
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
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        ContainerSpec, Exit, ImageRequest, StartError,
        env::{self, Sources},
        image::{Image, ImageError},
        status::{ContainerRun, State, pod_status},
        volumes::{self, VolumeError},
    },
    Deletion, Kubelet, MAY_FAIL, PORT, SCRIPT, SEQUENTIAL, SHUTDOWN_GRACE,
    readiness::Readiness,
    results,
};
use crate::{api::NODE_NAME, autoscaler::duration_text, events::Teller, node::ContainerRef, sandbox::Mount};

/// First and longest pause before a container that ended is started again (Kubernetes: 10 s to 5 min; a machine of one's
/// own is not shared, so the first retry comes sooner).
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Pause before an image, a Secret or whatever else was missing is asked for again.
const MISSING_RETRY: Duration = Duration::from_secs(10);

/// How much of a failed container's output becomes its termination message (Kubernetes: 80 lines, 2048 bytes).
const MESSAGE_LINES: usize = 80;
const MESSAGE_BYTES: usize = 2048;

/// Where steps find `build-tasks`, whatever their image.
const TOOLS: &str = "/tekton/tools";

/// Where programs are when nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

    /// Whether the end of a failed container's output is its termination message.
    fn falls_back_to_log(&self, index: usize) -> bool {
        self.containers()[index].termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
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

    /// Tells what happened to the pod.
    fn note(&self, reason: &'static str, message: String) {
        self.kubelet.events.note(&self.pod, Teller::Kubelet, reason, message);
    }

    /// Tells what went wrong with it.
    fn warn(&self, reason: &'static str, message: String) {
        self.kubelet.events.warn(&self.pod, Teller::Kubelet, reason, message);
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

    async fn crash_loop(&self, index: usize, pause: Duration) {
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
        let may_fail = self.pod.annotations().get(MAY_FAIL).cloned().unwrap_or_default();
        for run in self.runs().iter_mut() {
            run.state = State::waiting("PodInitializing");
        }
        let mut failed = false;
        for index in 0..self.containers().len() {
            if failed {
                self.skip(index);
                continue;
            }
            if let Err(error) = self.start(index).await {
                return self.fail_to_start(index, &error).await;
            }
            self.report().await;
            let name = self.name(index);
            let exit = match self.kubelet.slot(&self.uid, name).running {
                Some(container) => container.wait().await,
                None => Exit { code: 255 },
            };
            self.ended(index, exit);
            failed = exit.code != 0 && !may_fail.split(',').any(|listed| listed == name);
        }
        self.report().await;
        self.clear();
    }

    /// Removes what only running containers need: a build's workspace is large, its log is not.
    fn clear(&self) {
        for folder in ["volumes", "tmp", "tekton"] {
            if let Err(error) = super::remove_tree(&self.dir.join(folder)) {
                tracing::warn!(pod = %self.pod.name_any(), %error, "failed to remove a pod's volumes");
            }
        }
    }

    /// A step after a failed one: Tekton lets it end with code 1 at once.
    fn skip(&self, index: usize) {
        let now = Timestamp::now();
        let message = results::SKIPPED.to_owned();
        let skipped = State::Terminated { since: now, until: now, code: 1, reason: "Error", message };
        self.set_state(index, skipped);
    }

    fn ended(&self, index: usize, exit: Exit) {
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

    /// Gets the image, resolves volumes and environment, and starts the container.
    async fn start(&self, index: usize) -> Result<(), CreateError> {
        let container = self.containers()[index].clone();
        let image = self.image(&container).await?;
        let reference = container.image.as_deref().unwrap_or_default();
        let there = "already present on machine and can be accessed by the pod";
        self.note("Pulled", format!("Container image \"{reference}\" {there}"));
        let references =
            volumes::references(&self.kubelet.client, &self.namespace, &container, &self.pod).await?;
        let mounts = self.mounts(&container)?;
        let env = env::assemble(&container, self.env_sources(index, &image), &references);
        let slot = self.kubelet.slot(&self.uid, &container.name);
        slot.log.reopen();
        let id = ContainerRef {
            namespace: self.namespace.clone(),
            pod: self.pod.name_any(),
            uid: self.uid.clone(),
            container: container.name.clone(),
        };
        let cwd =
            container.working_dir.clone().or_else(|| image.working_dir.clone()).unwrap_or_else(|| "/".into());
        let known = env.iter().cloned().collect();
        let spec = ContainerSpec {
            id,
            pod_dir: self.dir.clone(),
            command: command_of(&container, &image, &known),
            env,
            cwd: PathBuf::from(cwd),
            mounts,
            // Tekton's entrypoint, which would start the step's command, ends with 1 when it cannot.
            exec_failure: self.sequential().then_some(1),
            port: self.port_of(index),
            log: slot.log,
            image,
        };
        self.runs()[index].image_id = spec.image.id.clone();
        let running = self.kubelet.runner.start(spec).await?;
        self.kubelet.set_running(&self.uid, &container.name, Some(running));
        self.note("Created", "Container created".into());
        self.note("Started", "Container started".into());
        self.set_state(index, State::Running { since: Timestamp::now() });
        Ok(())
    }

    async fn image(&self, container: &Container) -> Result<Image, ImageError> {
        let secrets = self.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let names: Vec<String> = secrets.map(|secret| secret.name.clone()).collect();
        let reference = container.image.as_deref().unwrap_or_default();
        let request = ImageRequest { reference, namespace: &self.namespace, secrets: &names };
        self.kubelet.runner.image(&self.kubelet.images, request).await
    }

    fn mounts(&self, container: &Container) -> Result<Vec<Mount>, VolumeError> {
        let own = |source: PathBuf, target: &str, writable| Mount {
            source,
            target: PathBuf::from(target),
            writable,
        };
        let mut mounts = vec![own(self.dir.join("tmp"), "/tmp", true)];
        if self.sequential() {
            mounts.push(own(self.dir.join("tekton"), "/tekton", true));
            mounts.push(own(self.kubelet.build_cache(), "/tekton/cache", true));
            mounts.push(own(self.kubelet.binaries(), TOOLS, false));
        }
        mounts.extend(volumes::mounts(container, &self.places)?);
        Ok(mounts)
    }

    fn env_sources(&self, index: usize, image: &Image) -> Sources {
        let mut defaults = Vec::new();
        if self.sequential() {
            let caches = [
                ("HOME", "/tekton/home"),
                ("TM_BUILD_CACHE", "/tekton/cache/tm"),
                ("GOCACHE", "/tekton/cache/go-build"),
                ("GOMODCACHE", "/tekton/cache/go-mod"),
                ("PIP_CACHE_DIR", "/tekton/cache/pip"),
                ("npm_config_cache", "/tekton/cache/npm"),
            ];
            defaults.extend(caches.map(|(name, path)| (name.to_owned(), path.to_owned())));
        }
        let mut fixed = Vec::new();
        if let Some(port) = self.port_of(index) {
            fixed.push(("PORT".to_owned(), port.to_string()));
            fixed.push(("TM_BIND_ADDRESS".to_owned(), Ipv4Addr::LOCALHOST.to_string()));
        }
        if self.sequential() {
            defaults.push(("PATH".into(), format!("{TOOLS}:{}", path_of(image))));
        }
        Sources { image: image.env.clone(), machine: !image.complete, defaults, fixed }
    }

    /// Reports what keeps the pod from starting, in Kubernetes' words.
    async fn fail_to_start(&self, index: usize, error: &CreateError) {
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

    async fn cannot_create(&self, error: &CreateError) {
        self.warn("Failed", format!("Error: {}", chain(error)));
        for run in self.runs().iter_mut() {
            run.state = State::Waiting { reason: "CreateContainerConfigError", message: chain(error) };
        }
        self.report().await;
    }

    async fn report(&self) {
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

    fn tell_killing(&self) {
        for container in self.containers() {
            if self.kubelet.slot(&self.uid, &container.name).running.is_some() {
                self.note("Killing", format!("Stopping container {}", container.name));
            }
        }
    }

    async fn stop_all(&self, grace: Duration) {
        let running = self.kubelet.running_of(&self.uid);
        futures::future::join_all(running.iter().map(|container| container.stop(grace))).await;
    }
}

/// `PATH` of an image, or of the machine when the image is but an addition to it.
fn path_of(image: &Image) -> String {
    let own = image.env.iter().find_map(|pair| pair.strip_prefix("PATH=")).map(str::to_owned);
    let path = if image.complete { own } else { std::env::var("PATH").ok() };
    path.unwrap_or_else(|| DEFAULT_PATH.into())
}

/// `command` and `args` over the image's `Entrypoint` and `Cmd`: a command alone drops the image's `Cmd` (Kubernetes API).
fn command_of(container: &Container, image: &Image, known: &BTreeMap<String, String>) -> Vec<String> {
    let own = |words: &Option<Vec<String>>| words.clone().filter(|words| !words.is_empty());
    let (command, args) = (own(&container.command), own(&container.args));
    let default_args = if command.is_some() { Vec::new() } else { image.cmd.clone() };
    let mut words = command.unwrap_or_else(|| image.entrypoint.clone());
    words.extend(args.unwrap_or(default_args));
    words.iter().map(|word| env::expand(word, known)).collect()
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
