//! The node's agent: follows the pods of the API, runs their containers and reports.
//!
//! One task (an actor) a pod, owned by [`Kubelet::run`]. A pod's life: folders and volumes, images, containers (all
//! at once, or one after the other when the annotation [`SEQUENTIAL`] says so, as Tekton's steps run), readiness, end.
//! Deleting the pod stops its containers and then removes the object for good.
//!
//! Containers do not outlive the engine, so a pod that was running when the engine started is lost: it is reported
//! as Failed, as a node does after a power cut.

mod actor;
mod port;
mod readiness;
mod results;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) use actor::chain;
pub(crate) use results::{INTERNAL_RESULT, TOO_LARGE, Told};

use bytes::Bytes;
use fs_err as fs;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Container, Runner, image::ImageStore, log, log::ContainerLog};
use crate::{
    events::Recorder,
    node::{ContainerRef, ExecSession, LogOptions, Node, NodeError},
    paths::Paths,
};

/// Annotation: containers run one after the other; a failing one ends the pod.
pub const SEQUENTIAL: &str = "tm.local/sequential";
/// Annotation: containers whose failure does not end the pod, a comma list (Tekton's `onError: continue`).
pub const MAY_FAIL: &str = "tm.local/may-fail";
/// Beginning of annotations that hold how long a container may run, by index, a Go duration (Tekton's `timeout` of a step).
pub const TIME_LIMIT: &str = "tm.local/timeout-";
/// Annotation: containers that are not run, a comma list (Tekton's `when` of a step).
pub const SKIP: &str = "tm.local/skip";
/// Beginning of annotations that hold the scripts of steps, by index; written to `/tekton/scripts/script-INDEX`.
pub const SCRIPT: &str = "tm.local/script-";
/// Annotation the kubelet writes: the port of the machine's loopback on which the pod listens.
pub const PORT: &str = "tm.local/port";

/// How long containers get at the engine's own end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The agent. Cheap to share.
pub struct Kubelet {
    client: Client,
    runner: Arc<dyn Runner>,
    images: Arc<ImageStore>,
    events: Recorder,
    paths: Paths,
    slots: Mutex<HashMap<Key, Slot>>,
}

/// What the agent works with.
pub struct Parts {
    /// Runs containers.
    pub runner: Arc<dyn Runner>,
    /// Has images.
    pub images: Arc<ImageStore>,
    /// Takes what users want to know.
    pub events: Recorder,
}

/// A container by the names a client uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    pod_uid: String,
    container: String,
}

/// What is known of a container.
#[derive(Clone)]
struct Slot {
    running: Option<Arc<dyn Container>>,
    log: Arc<ContainerLog>,
}

/// What the watcher tells an actor: delete within that grace.
type Deletion = watch::Receiver<Option<Duration>>;

/// The watcher's side of the actors.
struct Actors {
    deletions: HashMap<String, watch::Sender<Option<Duration>>>,
    /// Pods of the list that is being read.
    listed: HashSet<String>,
    tasks: JoinSet<String>,
}

// === impl Kubelet ===

impl Kubelet {
    /// An agent that has not begun; [`Kubelet::run`] does.
    ///
    /// # Errors
    /// When the folder of build caches cannot be made.
    pub fn new(client: Client, parts: Parts, paths: Paths) -> std::io::Result<Arc<Self>> {
        let Parts { runner, images, events } = parts;
        let kubelet = Self { client, runner, images, events, paths, slots: Mutex::new(HashMap::new()) };
        let cache = kubelet.build_cache();
        crate::paths::private_dir(&cache, 0o700)?;
        super::volumes::give_to_container(&cache)?;
        Ok(Arc::new(kubelet))
    }

    /// `build-tasks` and `runtime-shim`, as the base "this machine" has them on its `PATH`.
    fn binaries(&self) -> PathBuf {
        self.paths.binaries()
    }

    /// What build tools keep between builds.
    fn build_cache(&self) -> PathBuf {
        self.paths.cache().join("build")
    }

    /// Follows pods until `stop`, then stops every container and returns when none is left.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let events =
            watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default()).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut actors = Actors { deletions: HashMap::new(), listed: HashSet::new(), tasks: JoinSet::new() };
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = events.next() => match event {
                    Some(Ok(event)) => self.handle(event, &mut actors, &stop),
                    Some(Err(error)) => tracing::warn!(%error, "pod watch failed; it is retried"),
                    None => break,
                },
                Some(ended) = actors.tasks.join_next() => match ended {
                    Ok(uid) => drop(actors.deletions.remove(&uid)),
                    Err(error) => tracing::error!(%error, "a pod's task failed"),
                },
            }
        }
        let all = async { while actors.tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_GRACE * 2, all).await.is_err() {
            tracing::error!("pods did not stop in time");
        }
        self.runner.tidy().await;
    }

    fn handle(self: &Arc<Self>, event: watcher::Event<Pod>, actors: &mut Actors, stop: &CancellationToken) {
        match event {
            watcher::Event::Apply(pod) => self.applied(pod, actors, stop),
            watcher::Event::InitApply(pod) => {
                actors.listed.extend(pod.uid());
                self.applied(pod, actors, stop);
            }
            watcher::Event::Delete(pod) => actors.gone(&pod.uid().unwrap_or_default()),
            watcher::Event::Init => actors.listed.clear(),
            watcher::Event::InitDone => actors.all_but_listed_are_gone(),
        }
    }

    fn applied(self: &Arc<Self>, pod: Pod, actors: &mut Actors, stop: &CancellationToken) {
        let Some(uid) = pod.uid() else { return };
        let grace = grace_of(&pod);
        if let Some(deletion) = actors.deletions.get(&uid) {
            if grace.is_some() {
                // `kubectl delete --now` shortens the grace of a pod that is going already.
                deletion.send_if_modified(|known| {
                    known.is_none_or(|known| grace < Some(known)) && {
                        *known = grace;
                        true
                    }
                });
            }
            return;
        }
        let (deletion_tx, deletion) = watch::channel(grace);
        actors.deletions.insert(uid.clone(), deletion_tx);
        let (kubelet, stop) = (Arc::clone(self), stop.clone());
        actors.tasks.spawn(async move {
            actor::run(kubelet, pod, deletion, stop).await;
            uid
        });
    }

    fn pod_dir(&self, uid: &str) -> PathBuf {
        self.paths.pods().join(uid)
    }

    fn log_path(&self, uid: &str, container: &str) -> PathBuf {
        self.pod_dir(uid).join("log").join(format!("{container}.log"))
    }

    /// The slot of a container; made on first use.
    fn slot(&self, uid: &str, container: &str) -> Slot {
        let key = Key { pod_uid: uid.into(), container: container.into() };
        let mut slots = self.slots.lock().expect("no holder of this lock panics");
        let make = || Slot { running: None, log: Arc::new(ContainerLog::new(self.log_path(uid, container))) };
        slots.entry(key).or_insert_with(make).clone()
    }

    fn set_running(&self, uid: &str, container: &str, running: Option<Arc<dyn Container>>) {
        let key = Key { pod_uid: uid.into(), container: container.into() };
        let mut slots = self.slots.lock().expect("no holder of this lock panics");
        if let Some(slot) = slots.get_mut(&key) {
            slot.running = running;
        }
    }

    fn running_of(&self, uid: &str) -> Vec<Arc<dyn Container>> {
        let slots = self.slots.lock().expect("no holder of this lock panics");
        slots
            .iter()
            .filter(|(key, _)| key.pod_uid == uid)
            .filter_map(|(_, slot)| slot.running.clone())
            .collect()
    }

    /// Forgets a pod and removes its folder.
    fn forget(&self, uid: &str) {
        self.slots.lock().expect("no holder of this lock panics").retain(|key, _| key.pod_uid != uid);
        if let Err(error) = remove_tree(&self.pod_dir(uid)) {
            tracing::warn!(uid, %error, "failed to remove a pod's folder");
        }
    }

    /// Tidies up after an engine that ended: pods that were running are lost, folders of pods that are gone go.
    ///
    /// Must be done before anybody looks at the pods: their last status says that they are ready.
    ///
    /// # Errors
    /// When the pods cannot be listed or changed.
    pub async fn recover(&self) -> Result<(), kube::Error> {
        self.runner.tidy().await;
        let pods = Api::<Pod>::all(self.client.clone()).list(&kube::api::ListParams::default()).await?;
        let mut known: HashSet<String> = pods.iter().filter_map(ResourceExt::uid).collect();
        for pod in pods.iter().filter(|pod| was_running(pod)) {
            if self.lose(pod).await? {
                known.remove(&pod.uid().unwrap_or_default());
            }
        }
        let Ok(folders) = fs::read_dir(self.paths.pods()) else { return Ok(()) };
        for folder in folders.flatten() {
            if !known.contains(&*folder.file_name().to_string_lossy())
                && let Err(error) = remove_tree(&folder.path())
            {
                tracing::warn!(%error, "failed to remove an old pod's folder");
            }
        }
        Ok(())
    }

    /// A pod whose containers died with the last engine. Revisions' pods are replaced when they are needed; others stay, as
    /// Failed, with their logs. Says whether the pod is gone.
    async fn lose(&self, pod: &Pod) -> Result<bool, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let status = json!({"status": {
            "phase": "Failed", "reason": "NodeLost",
            "message": "the engine was stopped while this pod was running",
            "conditions": [{"type": "Ready", "status": "False", "reason": "PodFailed"}],
            "containerStatuses": [],
        }});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
        let replaceable = pod.labels().contains_key(tm_resources::labels::serving::REVISION);
        if replaceable {
            api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(replaceable)
    }
}

// === impl Actors ===

impl Actors {
    /// The pod's object is gone already: nothing is waited for.
    fn gone(&self, uid: &str) {
        if let Some(deletion) = self.deletions.get(uid) {
            deletion.send_replace(Some(Duration::ZERO));
        }
    }

    /// A new list was read: what it does not name was deleted while nobody watched.
    fn all_but_listed_are_gone(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        for uid in self.deletions.keys().filter(|uid| !listed.contains(*uid)) {
            self.gone(uid);
        }
    }
}

fn was_running(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let over = matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    !over && status.is_some_and(|status| status.start_time.is_some())
}

/// Grace of a pod that is being deleted.
fn grace_of(pod: &Pod) -> Option<Duration> {
    pod.metadata.deletion_timestamp.as_ref()?;
    let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Removes a folder with everything in it; build tools leave read-only folders behind (Go's module cache).
pub(crate) fn remove_tree(path: &std::path::Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            make_writable(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

fn make_writable(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

impl Node for Kubelet {
    fn logs(
        &self,
        container: ContainerRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<BoxStream<'static, std::io::Result<Bytes>>, NodeError>> {
        async move {
            let key = Key { pod_uid: container.uid.clone(), container: container.container.clone() };
            let slot = self.slots.lock().expect("no holder of this lock panics").get(&key).cloned();
            Ok(match slot {
                Some(slot) => slot.log.stream(options),
                None => log::stream_file(self.log_path(&container.uid, &container.container), options),
            })
        }
        .boxed()
    }

    fn exec(
        &self,
        container: ContainerRef,
        command: Vec<String>,
        stdin: bool,
        tty: bool,
    ) -> BoxFuture<'_, Result<ExecSession, NodeError>> {
        async move {
            let key = Key { pod_uid: container.uid.clone(), container: container.container.clone() };
            let slot = self.slots.lock().expect("no holder of this lock panics").get(&key).cloned();
            match slot.and_then(|slot| slot.running) {
                Some(running) => running.exec(command, stdin, tty).await,
                None => Err(NodeError::NotRunning(container.container)),
            }
        }
        .boxed()
    }
}
