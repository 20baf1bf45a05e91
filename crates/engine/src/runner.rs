//! How a pod's containers run.
//!
//! `kubelet` follows the pods of the API and drives a [`Runner`]; the runner starts a container and hands back a
//! [`Container`] to wait for, to stop and to run commands in. Two runners are real: plain processes ([`process`]) and
//! Docker ([`docker`]).

pub(crate) mod collect;
pub mod docker;
mod env;
pub mod image;
pub mod kubelet;
pub mod log;
pub mod process;
mod status;
mod volumes;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::{
    node::{ContainerRef, ExecSession, NodeError},
    sandbox::Mount,
};

/// How long the tasks of ended containers may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Waits until the tasks of containers have ended. Others may be begun afterwards.
async fn drained(tasks: &TaskTracker) {
    tasks.close();
    if timeout(DRAIN_LIMIT, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "tasks of containers did not end in time");
    }
    tasks.reopen();
}

/// A container to be started. Everything is resolved: image there, volumes on disk, environment complete.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Whose container it is.
    pub id: ContainerRef,
    /// The pod's folder.
    pub pod_dir: PathBuf,
    /// Its image.
    pub image: image::Image,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The whole environment, secrets included.
    pub env: Vec<(String, String)>,
    /// Working directory in the container.
    pub cwd: PathBuf,
    /// The pod's folders in the container.
    pub mounts: Vec<Mount>,
    /// Exit code when the command cannot be executed; `None` is a shell's, 126 or 127.
    pub exec_failure: Option<u8>,
    /// Port the container listens on, on the machine's loopback.
    pub port: Option<u16>,
    /// Where its output goes.
    pub log: Arc<log::ContainerLog>,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + n for signal n.
    pub code: i32,
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to execute.
    #[error("the image names no command and the container gives none")]
    NoCommand,
    /// A file or process operation failed.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The container engine refused.
    #[error("failed to {what}")]
    Docker {
        /// What was tried.
        what: &'static str,
        /// What it said.
        #[source]
        source: bollard::errors::Error,
    },
}

/// An image a container wants.
#[derive(Clone, Copy, Debug)]
pub struct ImageRequest<'a> {
    /// As the pod names it.
    pub reference: &'a str,
    /// The pod's namespace, where its pull Secrets are.
    pub namespace: &'a str,
    /// Names of the pull Secrets.
    pub secrets: &'a [String],
}

/// Starts containers.
pub trait Runner: Send + Sync + 'static {
    /// What `tm local status` shows: how containers are kept apart, and why.
    fn isolation(&self) -> String;

    /// The same in a word, for pods' annotations.
    fn isolation_kind(&self) -> &'static str;

    /// Gets an image ready to be started: on disk, or wherever this runner wants it.
    ///
    /// # Errors
    /// When it is not there or cannot be had.
    fn image<'a>(
        &'a self,
        images: &'a image::ImageStore,
        request: ImageRequest<'a>,
    ) -> BoxFuture<'a, Result<image::Image, image::ImageError>>;

    /// Starts a container; it runs when this returns.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    fn start(&self, spec: ContainerSpec) -> BoxFuture<'_, Result<Arc<dyn Container>, StartError>>;

    /// Removes containers that are nobody's any more: those of an engine that was killed, and at the engine's own end
    /// what could not be stopped. Tasks of containers have ended when this returns, or had their time.
    fn tidy(&self) -> BoxFuture<'_, ()>;
}

/// A started container.
pub trait Container: Send + Sync + 'static {
    /// Resolves when it has ended and all of its output is in the log.
    fn wait(&self) -> BoxFuture<'_, Exit>;

    /// Asks it to end (SIGTERM), waits for `grace`, then kills everything in it. Returns when nothing is left.
    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit>;

    /// Runs a command in it.
    fn exec(
        &self,
        command: Vec<String>,
        stdin: bool,
        tty: bool,
    ) -> BoxFuture<'_, Result<ExecSession, NodeError>>;
}
