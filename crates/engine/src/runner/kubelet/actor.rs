//! One pod from its first status to its last.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use fs_err as fs;
use futures::{FutureExt, future::Either};
use k8s_openapi::{
    api::core::v1::{Container, Pod},
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        ContainerSpec, Exit, StartError,
        env::{self, Sources},
        image::{Image, ImageError},
        status::{ContainerRun, State, pod_status},
        volumes::{self, VolumeError},
    },
    Deletion, Kubelet, MAY_FAIL, PORT, SCRIPT, SEQUENTIAL, SHUTDOWN_GRACE, results,
};
use crate::{node::ContainerRef, sandbox::Mount};

/// First and longest pause before a container that ended is started again (Kubernetes: 10 s to 5 min; a machine of one's
/// own is not shared, so the first retry comes sooner).
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Pause before an image that could not be had is asked for again.
const IMAGE_RETRY: Duration = Duration::from_secs(10);
/// Pauses between two looks at a port that does not answer yet.
const PROBE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Where steps on the base "this machine" find `build-tasks`.
const TOOLS: &str = "/tekton/tools";

/// Runs the pod until it is deleted or the engine ends.
pub(super) async fn run(kubelet: Arc<Kubelet>, pod: Pod, mut deletion: Deletion, stop: CancellationToken) {
    let mut actor = Actor::new(kubelet, pod);
    let ending = async move {
        tokio::select! {
            grace = deletion.wait_for(Option::is_some) => grace.ok().and_then(|grace| *grace),
            () = stop.cancelled_owned() => None,
        }
    };
    let ending = ending.boxed();
    let grace = if actor.ended_before() {
        ending.await
    } else {
        // Boxed: the future of a pod's whole life is large, and there is one for each pod.
        let life = actor.live().boxed();
        match futures::future::select(life, ending).await {
            Either::Left(((), ending)) => ending.await,
            Either::Right((grace, _)) => grace,
        }
    };
    actor.end(grace).await;
}

struct Actor {
    kubelet: Arc<Kubelet>,
    pod: Pod,
    uid: String,
    namespace: String,
    dir: PathBuf,
    started: Timestamp,
    runs: Vec<ContainerRun>,
    port: Option<u16>,
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
            runs,
            port: None,
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

    /// Everything between creation and the last status.
    async fn live(&mut self) {
        if let Err(error) = self.prepare().await {
            return self.cannot_create(&error).await;
        }
        if self.sequential() { self.run_in_turn().await } else { self.run_together().await }
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
        if self.listens() {
            self.port = Some(self.choose_port().await?);
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

    fn listens(&self) -> bool {
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.flat_map(|container| container.ports.iter().flatten()).next().is_some()
    }

    /// A free port of the loopback. All pods share the machine's network, so the pod's own port number means nothing;
    /// the container learns the chosen one as `PORT` and the ingress reads it from the annotation [`PORT`].
    async fn choose_port(&self) -> Result<u16, VolumeError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let patch = json!({"metadata": {"annotations": {PORT: port.to_string()}}});
        let name = self.pod.name_any();
        self.api().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(Box::new)?;
        Ok(port)
    }

    /// Starts all containers and keeps them running.
    async fn run_together(&mut self) {
        if self.runs.len() == 1 {
            return self.keep_running(0).await;
        }
        // Side containers of a function: started in order, the first failure decides what is shown.
        for index in 0..self.runs.len() {
            if let Err(error) = self.start(index).await {
                return self.fail_to_start(index, &error).await;
            }
        }
        self.report().await;
        self.wait_ready().await;
    }

    /// Runs one container, again and again when the pod's restart policy says so.
    async fn keep_running(&mut self, index: usize) {
        let mut pause = RESTART.0;
        loop {
            if let Err(error) = self.start(index).await {
                self.fail_to_start(index, &error).await;
                if !matches!(error, CreateError::Image(_)) || !self.restarts() {
                    return;
                }
                sleep(IMAGE_RETRY).await;
                continue;
            }
            let begun = tokio::time::Instant::now();
            let exit = self.wait_ready_or_end(index).await;
            self.ended(index, exit);
            if !self.restarts() {
                return self.report().await;
            }
            if begun.elapsed() > RESTART.1 {
                pause = RESTART.0;
            }
            self.crash_loop(index, exit).await;
            sleep(pause).await;
            pause = (pause * 2).min(RESTART.1);
        }
    }

    async fn crash_loop(&mut self, index: usize, exit: Exit) {
        let name = self.runs[index].name.clone();
        let tail = self.kubelet.slot(&self.uid, &name).log.tail(5).join("\n");
        self.runs[index].restarts += 1;
        let message = format!("container {name} exited with code {}: {tail}", exit.code);
        self.runs[index].state = State::Waiting { reason: "CrashLoopBackOff", message };
        self.report().await;
    }

    /// Reports the container as running, then as ready once its port answers; returns when it ended.
    async fn wait_ready_or_end(&mut self, index: usize) -> Exit {
        let name = self.runs[index].name.clone();
        let Some(container) = self.kubelet.slot(&self.uid, &name).running else { return Exit { code: 255 } };
        if let Some(port) = self.port {
            // A quick start is reported once, as ready; a slow one as running first.
            let first = sleep(Duration::from_millis(200));
            tokio::select! {
                exit = container.wait() => return exit,
                () = answers(port) => self.runs[index].ready = true,
                () = first => {}
            }
            self.report().await;
            if !self.runs[index].ready {
                tokio::select! {
                    exit = container.wait() => return exit,
                    () = answers(port) => self.runs[index].ready = true,
                }
                self.report().await;
            }
        } else {
            self.runs[index].ready = true;
            self.report().await;
        }
        container.wait().await
    }

    async fn wait_ready(&mut self) {
        if let Some(port) = self.port {
            answers(port).await;
        }
        for run in &mut self.runs {
            run.ready = true;
        }
        self.report().await;
    }

    /// Runs the containers one after the other, as Tekton's steps.
    async fn run_in_turn(&mut self) {
        let may_fail = self.pod.annotations().get(MAY_FAIL).cloned().unwrap_or_default();
        for run in &mut self.runs {
            run.state = State::waiting("PodInitializing");
        }
        let mut failed = false;
        for index in 0..self.runs.len() {
            if failed {
                self.skip(index);
                continue;
            }
            if let Err(error) = self.start(index).await {
                return self.fail_to_start(index, &error).await;
            }
            self.report().await;
            let name = self.runs[index].name.clone();
            let exit = match self.kubelet.slot(&self.uid, &name).running {
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
    fn skip(&mut self, index: usize) {
        let now = Timestamp::now();
        let message = String::new();
        self.runs[index].state =
            State::Terminated { since: now, until: now, code: 1, reason: "Skipped", message };
    }

    fn ended(&mut self, index: usize, exit: Exit) {
        let name = self.runs[index].name.clone();
        self.kubelet.slot(&self.uid, &name).log.close();
        self.kubelet.set_running(&self.uid, &name, None);
        let since = match self.runs[index].state {
            State::Running { since } => since,
            _ => Timestamp::now(),
        };
        let message = if self.sequential() {
            results::termination_message(&self.dir.join("tekton/results"))
        } else {
            String::new()
        };
        let reason = if exit.code == 0 { "Completed" } else { "Error" };
        self.runs[index].ready = false;
        self.runs[index].state =
            State::Terminated { since, until: Timestamp::now(), code: exit.code, reason, message };
    }

    /// Gets the image, resolves volumes and environment, and starts the container.
    async fn start(&mut self, index: usize) -> Result<(), CreateError> {
        let spec = self.pod.spec.as_ref().expect("a pod has a spec");
        let container = spec.containers[index].clone();
        let image = self.image(&container).await?;
        let references =
            volumes::references(&self.kubelet.client, &self.namespace, &container, &self.pod).await?;
        let mounts = self.mounts(&container)?;
        let env = env::assemble(&container, self.env_sources(&image), &references);
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
            port: self.port,
            log: slot.log,
            image,
        };
        self.runs[index].image_id = spec.image.id.clone();
        let running = self.kubelet.runner.start(spec).await?;
        self.kubelet.set_running(&self.uid, &container.name, Some(running));
        self.runs[index].state = State::Running { since: Timestamp::now() };
        Ok(())
    }

    async fn image(&self, container: &Container) -> Result<Image, ImageError> {
        let secrets = self.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let names: Vec<String> = secrets.map(|secret| secret.name.clone()).collect();
        let reference = container.image.as_deref().unwrap_or_default();
        self.kubelet.images.get(reference, &self.namespace, &names).await
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

    fn env_sources(&self, image: &Image) -> Sources {
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
        if let Some(port) = self.port {
            fixed.push(("PORT".to_owned(), port.to_string()));
            fixed.push(("TM_BIND_ADDRESS".to_owned(), Ipv4Addr::LOCALHOST.to_string()));
        }
        if self.sequential() && !image.complete {
            let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
            defaults.push(("PATH".into(), format!("{TOOLS}:{path}")));
        }
        Sources { image: image.env.clone(), machine: !image.complete, defaults, fixed }
    }

    /// Reports what keeps the pod from starting, in Kubernetes' words.
    async fn fail_to_start(&mut self, index: usize, error: &CreateError) {
        let (reason, message) = match error {
            CreateError::Image(error) => ("ErrImagePull", chain(error)),
            CreateError::Volume(error) => ("CreateContainerConfigError", chain(error)),
            CreateError::Start(error) => ("RunContainerError", chain(error)),
        };
        tracing::warn!(pod = %self.pod.name_any(), reason, message, "a container did not start");
        self.runs[index].state = State::Waiting { reason, message };
        self.report().await;
    }

    async fn cannot_create(&mut self, error: &CreateError) {
        for index in 0..self.runs.len() {
            self.runs[index].state =
                State::Waiting { reason: "CreateContainerConfigError", message: chain(error) };
        }
        self.report().await;
    }

    async fn report(&self) {
        let status = pod_status(&self.pod, &self.runs, self.started);
        self.patch_status(&json!({"status": status})).await;
    }

    async fn patch_status(&self, patch: &serde_json::Value) {
        let name = self.pod.name_any();
        let result = self.api().patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match result {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => tracing::warn!(pod = name, %error, "failed to report a pod's status"),
        }
    }

    /// Stops the containers; with a grace the pod is being deleted and its object goes last.
    async fn end(&mut self, grace: Option<Duration>) {
        let wait = grace.unwrap_or(SHUTDOWN_GRACE);
        let running = self.kubelet.running_of(&self.uid);
        futures::future::join_all(running.iter().map(|container| container.stop(wait))).await;
        if grace.is_none() {
            return;
        }
        let now = DeleteParams::default().grace_period(0);
        if let Err(error) = self.api().delete(&self.pod.name_any(), &now).await
            && !matches!(&error, kube::Error::Api(status) if status.code == 404)
        {
            tracing::warn!(pod = %self.pod.name_any(), %error, "failed to remove a pod");
        }
        self.kubelet.forget(&self.uid);
    }
}

/// Resolves when the port accepts a connection.
async fn answers(port: u16) {
    let mut pause = PROBE.0;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        sleep(pause).await;
        pause = (pause + pause / 2).min(PROBE.1);
    }
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
fn chain(error: &dyn std::error::Error) -> String {
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
