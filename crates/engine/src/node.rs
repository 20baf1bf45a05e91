//! What the API server asks of the node: a container's log and commands inside a container.
//!
//! `api/` parses `pods/log` and `pods/exec` and speaks the wire protocols; the process that holds the containers
//! (`runner/`) implements [`Node`]. Neither knows the other.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use tokio::io::{AsyncRead, AsyncWrite};

/// A container of a pod, by the names a client uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod: a pod of the same name made later is another pod.
    pub uid: String,
    /// Name of the container.
    pub container: String,
}

/// Query of `GET …/pods/NAME/log`, as Kubernetes spells it (`PodLogOptions`).
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Keep the stream open until the container ends.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines written in the last so many seconds.
    pub since_seconds: Option<i64>,
    /// Prefix each line with its RFC 3339 time.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// A command running in a container.
pub struct ExecSession {
    /// Where to write the command's input; closing it is end of file. `None` when no input was asked for.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// The command's output.
    pub stdout: Pin<Box<dyn AsyncRead + Send>>,
    /// The command's errors; with a terminal everything arrives on `stdout`.
    pub stderr: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Resolves to the exit code (128 + n for signal n). Dropping the session ends the command's process group.
    pub exit: BoxFuture<'static, Result<i32, NodeError>>,
}

/// Why the node could not do it.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The container is not there or has ended (Kubernetes: 400 `container not found`).
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The command is not there (Kubernetes answers on the error channel with exit code 126 or 127).
    #[error("failed to start {command}")]
    CannotStart {
        /// The command's first word.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Reading or writing failed.
    #[error("container I/O failed")]
    Io(#[from] std::io::Error),
}

/// The node side of `pods/log` and `pods/exec`.
pub trait Node: Send + Sync + 'static {
    /// Streams the container's log. A container that has not started yet has an empty log.
    ///
    /// # Errors
    /// [`NodeError::Io`] when the log cannot be read.
    fn logs(
        &self,
        container: ContainerRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<BoxStream<'static, std::io::Result<Bytes>>, NodeError>>;

    /// Starts `command` in the container.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`] and [`NodeError::CannotStart`].
    fn exec(
        &self,
        container: ContainerRef,
        command: Vec<String>,
        stdin: bool,
        tty: bool,
    ) -> BoxFuture<'_, Result<ExecSession, NodeError>>;
}

/// A node, shared by the API's handlers.
pub type SharedNode = Arc<dyn Node>;
