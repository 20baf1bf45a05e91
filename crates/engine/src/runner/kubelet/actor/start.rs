//! From a container of the pod to the process that runs: image, volumes, environment, command.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use k8s_openapi::{api::core::v1::Container, jiff::Timestamp};
use kube::ResourceExt;

use super::{
    super::super::{
        ContainerSpec, ImageRequest,
        env::{self, Sources},
        image::{Image, ImageError},
        status::State,
        volumes::{self, VolumeError},
    },
    Actor, CreateError,
};
use crate::{node::ContainerRef, sandbox::Mount};

/// Where steps find `build-tasks`, whatever their image.
const TOOLS: &str = "/tekton/tools";

/// Where programs are when nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// === impl Actor ===

impl Actor {
    /// Gets the image, resolves volumes and environment, and starts the container.
    pub(super) async fn start(&self, index: usize) -> Result<(), CreateError> {
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
            mounts.push(own(self.dir.join("steps"), "/tekton/steps", false));
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
