//! Containers in a Docker engine, for machines where real isolation is wanted (`tm local start --runner docker`).
//!
//! A container of a pod is a Docker container on the machine's own network, so `PORT` on the loopback means the same as
//! it does for processes. Docker pulls the functions' images from the engine's registry, which it trusts because it is on
//! the loopback. Containers carry the engine's state folder in a label: those that a killed engine left behind are found
//! by it and removed when the next one starts.

mod base;
mod config;
mod container;
mod exec;
mod image;
mod output;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bollard::{
    Docker,
    models::SystemInfo,
    query_parameters::{ListContainersOptions, RemoveContainerOptions},
};
use futures::{FutureExt, future::BoxFuture};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{
    Container, ContainerSpec, ImageRequest, Runner, StartError, drained,
    image::{Image, ImageError, ImageStore},
};

/// Names a Docker engine that is not at [`DEFAULT_HOST`].
const HOST_ENV: &str = "DOCKER_HOST";
/// Where a Docker engine listens when nobody says otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Longest wait for the Docker engine's first answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for the removal of what is left of containers.
const TIDY_LIMIT: Duration = Duration::from_secs(8);
/// Release of the kernel that runs.
const KERNEL: &str = "/proc/sys/kernel/osrelease";

/// Runs containers in a Docker engine.
#[derive(Clone, Debug)]
pub struct DockerRunner {
    docker: Docker,
    version: String,
    /// Label of our containers: the state folder.
    owner: String,
    /// Where Docker finds the engine's registry.
    registry: SocketAddr,
    /// One task for each container, which owns it.
    tasks: TaskTracker,
}

/// Why the Docker runner cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Nobody answers.
    #[error("failed to reach the Docker engine at {host}")]
    Unreachable {
        /// Its address.
        host: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// It accepts connections and says nothing.
    #[error("the Docker engine at {host} did not answer within {} seconds", CONNECT_LIMIT.as_secs())]
    Silent {
        /// Its address.
        host: String,
    },
    /// Containers would not see this machine's folders and network.
    #[error("the Docker engine at {host} cannot be used: {problem}")]
    Unsuitable {
        /// Its address.
        host: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The base image cannot be had or not be put into the engine's registry.
    #[error("failed to {what} the base image `{image}`")]
    Base {
        /// What was tried.
        what: &'static str,
        /// The image.
        image: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// It takes too long.
    #[error("the Docker engine did not {what} the base image `{image}` in time")]
    BaseTimeout {
        /// What was tried.
        what: &'static str,
        /// The image.
        image: String,
    },
    /// The base image's name is none.
    #[error("`{image}` is no image reference")]
    BaseName {
        /// What was given.
        image: String,
        /// Why.
        #[source]
        source: tm_oci::reference::InvalidReference,
    },
}

// === impl DockerRunner ===

impl DockerRunner {
    /// A runner on the Docker engine that `DOCKER_HOST` names. `state` tells this engine's containers from others',
    /// `registry` is where the engine's registry listens.
    ///
    /// # Errors
    /// When no Docker engine answers, or it is not one of this machine.
    pub async fn connect(state: &Path, registry: SocketAddr) -> Result<Self, DockerError> {
        let host = std::env::var(HOST_ENV).ok().filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| DEFAULT_HOST.into());
        let asked = async {
            let docker = Docker::connect_with_host(&host)?.negotiate_version().await?;
            let info = docker.info().await?;
            Ok((docker, info))
        };
        let answer =
            timeout(CONNECT_LIMIT, asked).await.map_err(|_| DockerError::Silent { host: host.clone() })?;
        let (docker, info) =
            answer.map_err(|source| DockerError::Unreachable { host: host.clone(), source })?;
        let kernel = std::fs::read_to_string(KERNEL).unwrap_or_default();
        if let Some(problem) = unsuitable(&info, kernel.trim()) {
            return Err(DockerError::Unsuitable { host, problem });
        }
        let version = info.server_version.unwrap_or_else(|| "of an unknown version".into());
        let registry = SocketAddr::new(reachable(registry.ip()), registry.port());
        Ok(Self { docker, version, owner: state.display().to_string(), registry, tasks: TaskTracker::new() })
    }

    async fn remove_ours(&self) -> Result<(), bollard::errors::Error> {
        let label = format!("{}={}", config::OWNER, self.owner);
        let filters = Some(HashMap::from([("label".to_owned(), vec![label])]));
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        for container in self.docker.list_containers(Some(options)).await? {
            let id = container.id.unwrap_or_default();
            tracing::info!(id, "removing a container that was left behind");
            remove(&self.docker, &id).await;
        }
        Ok(())
    }
}

/// Ends and removes a container, with its anonymous volumes.
async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
    match docker.remove_container(id, Some(options)).await {
        Ok(()) => {}
        // Somebody else removed it, or is doing so.
        Err(error) if has_status(&error, &[404, 409]) => {}
        Err(error) => tracing::warn!(id, %error, "failed to remove a container"),
    }
}

fn has_status(error: &bollard::errors::Error, wanted: &[u16]) -> bool {
    matches!(
        error,
        bollard::errors::Error::DockerResponseServerError { status_code, .. } if wanted.contains(status_code)
    )
}

/// What keeps containers of that engine from this machine's folders and loopback.
fn unsuitable(info: &SystemInfo, kernel: &str) -> Option<&'static str> {
    let theirs = info.kernel_version.as_deref().unwrap_or_default();
    if !kernel.is_empty() && theirs != kernel {
        return Some(
            "it runs in a virtual machine or on another one, and containers need this machine's network",
        );
    }
    let options = info.security_options.iter().flatten();
    let rootless = options.clone().any(|option| option == "name=rootless");
    rootless.then_some("it is rootless, so containers would not share this machine's network")
}

/// The address under which the registry is reached from this machine.
fn reachable(address: IpAddr) -> IpAddr {
    if address.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address }
}

impl Runner for DockerRunner {
    fn isolation(&self) -> String {
        format!("docker ({})", self.version)
    }

    fn isolation_kind(&self) -> &'static str {
        "docker"
    }

    fn image<'a>(
        &'a self,
        images: &'a ImageStore,
        request: ImageRequest<'a>,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        image::get(&self.docker, self.registry, images, request).boxed()
    }

    fn start(&self, spec: ContainerSpec) -> BoxFuture<'_, Result<Arc<dyn Container>, StartError>> {
        container::start(self.docker.clone(), self.owner.clone(), spec, &self.tasks).boxed()
    }

    fn tidy(&self) -> BoxFuture<'_, ()> {
        async move {
            match timeout(TIDY_LIMIT, self.remove_ours()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "failed to look for containers left behind"),
                Err(_) => tracing::warn!("containers left behind were not removed in time"),
            }
            drained(&self.tasks).await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_of_this_machine_will_do() {
        let info = |kernel: &str, options: &[&str]| SystemInfo {
            kernel_version: Some(kernel.into()),
            security_options: Some(options.iter().map(|&option| option.into()).collect()),
            ..SystemInfo::default()
        };
        assert_eq!(unsuitable(&info("6.1", &["name=seccomp"]), "6.1"), None);
        assert!(unsuitable(&info("6.12-linuxkit", &[]), "6.1").is_some_and(|why| why.contains("virtual")));
        let rootless = info("6.1", &["name=seccomp", "name=rootless"]);
        assert!(unsuitable(&rootless, "6.1").is_some_and(|why| why.contains("rootless")));
    }

    #[test]
    fn the_registry_is_reached_on_the_loopback() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), Ipv4Addr::LOCALHOST);
        assert_eq!(reachable("::".parse().unwrap()), Ipv4Addr::LOCALHOST);
        assert_eq!(reachable("10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
    }
}
