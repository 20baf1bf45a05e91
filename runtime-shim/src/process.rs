//! Processes of the function: which program, with which environment, started, counted and ended.

pub(crate) mod bootstrap;
pub(crate) mod children;
pub(crate) mod extensions;
mod limits;
pub(crate) mod memory;
pub(crate) mod procfs;
pub(crate) mod variables;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tm_lambda::{FunctionError, RequestId, environment as env};
use tokio::net::unix::pipe;

use crate::config::{Function, Launch};
use bootstrap::Entrypoint;
use children::{Child, Children};
pub(crate) use extensions::LaunchError;

/// Starts runtime processes, all from the same recipe.
#[derive(Debug)]
pub(crate) struct Launcher {
    launch: Launch,
    variables: Vec<(OsString, OsString)>,
    children: Arc<Children>,
}

/// A process that was just started, and its output.
#[derive(Debug)]
pub(crate) struct Started {
    /// The leader of the process group.
    pub(crate) child: Child,
    /// Its output and its errors.
    pub(crate) pipes: [pipe::Receiver; 2],
}

/// Why no process could be started.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Nothing to start, or not startable (EN-21).
    #[error("{0}")]
    InvalidEntrypoint(String),
    /// The working directory is not there.
    #[error("{0}")]
    InvalidWorkingDir(String),
    /// The machine refused (no memory, no descriptors).
    #[error("{0}")]
    Sandbox(String),
}

// === impl Launcher ===

impl Launcher {
    pub(crate) fn new(launch: Launch, function: &Function, children: Arc<Children>) -> Self {
        let variables = variables::of(&launch, function);
        Self { launch, variables, children }
    }

    /// Who reaps what is started here.
    pub(crate) fn children(&self) -> Arc<Children> {
        Arc::clone(&self.children)
    }

    /// Starts worker `index` with its Runtime API at `api`.
    pub(crate) fn start(&self, index: usize, api: SocketAddr) -> Result<Started, StartError> {
        let Entrypoint { program, args, directory } = bootstrap::find(&self.launch)?;
        let mut command = Command::new(&program);
        command
            .args(args)
            .current_dir(directory)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        let (mut process, child) =
            self.spawn(command, index, api).map_err(|error| bootstrap::refused(&program, &error))?;
        let pipes = pipes(&mut process).map_err(|error| {
            child.kill();
            StartError::Sandbox(format!("failed to read the output of the runtime: {error}"))
        })?;
        Ok(Started { child, pipes })
    }

    /// The external extensions of this moment, by name.
    pub(crate) fn extensions(&self) -> Result<Vec<PathBuf>, LaunchError> {
        extensions::find(&self.launch.extensions_dir)
    }

    /// Starts an external extension of worker `index`, with its API at `api`.
    pub(crate) fn start_extension(
        &self,
        path: &Path,
        index: usize,
        api: SocketAddr,
    ) -> Result<Started, LaunchError> {
        extensions::usable(path)?;
        let reaches = |name: &OsString| name.to_str().is_none_or(env::reaches_extensions);
        let mut command = Command::new(path);
        command
            .current_dir("/")
            .env_clear()
            .envs(self.variables.iter().filter(|(name, _)| reaches(name)).map(|(name, value)| (name, value)));
        let refused = |error: &std::io::Error| LaunchError::of(path, error);
        let (mut process, child) = self.spawn(command, index, api).map_err(|error| refused(&error))?;
        let pipes = pipes(&mut process).map_err(|error| {
            child.kill();
            refused(&error)
        })?;
        Ok(Started { child, pipes })
    }

    /// Starts a process with what all of them have in common.
    fn spawn(
        &self,
        mut command: Command,
        index: usize,
        api: SocketAddr,
    ) -> std::io::Result<(std::process::Child, Child)> {
        command
            .env(env::AWS_LAMBDA_RUNTIME_API, api.to_string())
            .env(env::BOOTSTRAP_INDEX, index.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: the whole tree is ended at once, and signals to the shim stay with the shim.
            .process_group(0);
        let (process, child) = self.children.spawn(&mut command)?;
        if !self.launch.compat.is_custom_runtime() {
            limits::of_function(child.pid());
        }
        Ok((process, child))
    }
}

fn pipes(process: &mut std::process::Child) -> std::io::Result<[pipe::Receiver; 2]> {
    let stdout = process.stdout.take().expect("stdout is piped");
    let stderr = process.stderr.take().expect("stderr is piped");
    Ok([pipe::Receiver::from_owned_fd(stdout.into())?, pipe::Receiver::from_owned_fd(stderr.into())?])
}

// === impl StartError ===

impl StartError {
    /// What the caller of invoke `id` gets.
    pub(crate) fn for_caller(&self, id: RequestId) -> FunctionError {
        match self {
            Self::InvalidEntrypoint(reason) => FunctionError::invalid_entrypoint(id, reason),
            Self::InvalidWorkingDir(reason) => FunctionError::invalid_working_dir(id, reason),
            Self::Sandbox(reason) => FunctionError::sandbox_failure(id, reason),
        }
    }
}
