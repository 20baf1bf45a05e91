//! One Docker container from its creation to its removal.
//!
//! A task of its own owns it: whoever waits for the start may be dropped at any moment (the pod was deleted), and the
//! container must not stay.

use std::{sync::Arc, time::Duration};

use bollard::{
    Docker,
    container::AttachContainerResults,
    errors::Error,
    query_parameters::{
        AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, KillContainerOptions,
        StartContainerOptions, WaitContainerOptions,
    },
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    super::{
        Container, ContainerSpec, Exit, StartError,
        log::{ContainerLog, Source},
    },
    config, exec, has_status, output, remove,
};
use crate::node::{ExecSession, NodeError};

/// How long the output of an ended container is waited for.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);
/// How long a killed container may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Exit code of a container whose end nobody could tell.
const UNKNOWN: Exit = Exit { code: 255 };
/// Exit code of a killed one.
const KILLED: Exit = Exit { code: 137 };

struct DockerContainer {
    docker: Docker,
    id: String,
    name: String,
    exit: watch::Receiver<Option<Exit>>,
}

/// The task that owns a container.
struct Owner {
    docker: Docker,
    id: String,
    log: Arc<ContainerLog>,
    exec_failure: Option<u8>,
    exit: watch::Sender<Option<Exit>>,
}

/// Starts a container for the engine with that label.
pub(super) async fn start(
    docker: Docker,
    label: String,
    spec: ContainerSpec,
    tasks: &TaskTracker,
) -> Result<Arc<dyn Container>, StartError> {
    if spec.command.is_empty() {
        return Err(StartError::NoCommand);
    }
    let name = spec.id.container.clone();
    let (exit_sender, exit) = watch::channel(None);
    let (ready, started) = oneshot::channel();
    // It ends when the container does, which every stop path brings about.
    tasks.spawn(own(docker.clone(), label, spec, ready, exit_sender));
    let gone = |_| StartError::Io {
        what: "start the container",
        source: std::io::Error::other("the task that owns it ended"),
    };
    let id = started.await.map_err(gone)??;
    Ok(Arc::new(DockerContainer { docker, id, name, exit }) as Arc<dyn Container>)
}

async fn own(
    docker: Docker,
    label: String,
    spec: ContainerSpec,
    ready: oneshot::Sender<Result<String, StartError>>,
    exit: watch::Sender<Option<Exit>>,
) {
    let created = create(&docker, &label, &spec).await;
    let id = match created {
        Ok(id) => id,
        Err(source) => {
            let _ = ready.send(Err(StartError::Docker { what: "create the container", source }));
            return;
        }
    };
    Owner { docker, id, log: spec.log, exec_failure: spec.exec_failure, exit }.run(ready).await;
}

/// The name is for people; ids tell containers apart, so one that is taken is done without.
async fn create(docker: &Docker, label: &str, spec: &ContainerSpec) -> Result<String, Error> {
    let unique: String = spec.id.uid.chars().take(8).collect();
    let name = format!("tm_{}_{}_{}_{unique}", spec.id.namespace, spec.id.pod, spec.id.container);
    let body = config::create_body(spec, label);
    let options = CreateContainerOptions { name: Some(name), ..CreateContainerOptions::default() };
    match docker.create_container(Some(options), body.clone()).await {
        Err(error) if has_status(&error, &[409]) => {
            docker.create_container(None, body).await.map(|created| created.id)
        }
        created => created.map(|created| created.id),
    }
}

// === impl Owner ===

impl Owner {
    async fn run(self, ready: oneshot::Sender<Result<String, StartError>>) {
        match self.start().await {
            Ok(output) => {
                if ready.send(Ok(self.id.clone())).is_err() {
                    return remove(&self.docker, &self.id).await;
                }
                let exit = self.watch(output).await;
                self.end(exit).await;
            }
            Err(source) => match self.command_failure().await {
                Some(exit) => {
                    let _ = ready.send(Ok(self.id.clone()));
                    self.end(exit).await;
                }
                None => {
                    remove(&self.docker, &self.id).await;
                    let _ = ready.send(Err(StartError::Docker { what: "start the container", source }));
                }
            },
        }
    }

    /// Attaches before it starts, so that no line is lost.
    async fn start(&self) -> Result<AttachContainerResults, Error> {
        let options = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let output = self.docker.attach_container(&self.id, Some(options)).await?;
        self.docker.start_container(&self.id, None::<StartContainerOptions>).await?;
        Ok(output)
    }

    /// A command that is not there or cannot be executed is an end with a code, as it is for a shell.
    async fn command_failure(&self) -> Option<Exit> {
        let details = self.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await.ok()?;
        let state = details.state?;
        let code = i32::try_from(state.exit_code?).ok().filter(|code| matches!(code, 126 | 127))?;
        let line = format!("docker: {}\n", state.error.unwrap_or_default().trim());
        self.log.copy(Source::Stderr, line.as_bytes()).await;
        Some(Exit { code: self.exec_failure.map_or(code, i32::from) })
    }

    /// Writes its output to the log until it ends.
    async fn watch(&self, attached: AttachContainerResults) -> Exit {
        let (stdout, stderr, pump) = output::split(attached.output);
        let logged = async {
            tokio::join!(pump, self.log.copy(Source::Stdout, stdout), self.log.copy(Source::Stderr, stderr))
        };
        let mut logged = std::pin::pin!(logged.fuse());
        let mut ended = std::pin::pin!(self.ended());
        tokio::select! {
            exit = &mut ended => {
                // A process that left the container's main one may hold the stream.
                let _ = timeout(OUTPUT_GRACE, logged).await;
                exit
            }
            _ = &mut logged => ended.await,
        }
    }

    async fn ended(&self) -> Exit {
        let options = WaitContainerOptions { condition: "not-running".into() };
        let answer = self.docker.wait_container(&self.id, Some(options)).boxed().next().await;
        let code = match answer {
            Some(Ok(answer)) => answer.status_code,
            Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => {
                tracing::warn!(id = self.id, %error, "lost sight of a container");
                return UNKNOWN;
            }
            None => return UNKNOWN,
        };
        i32::try_from(code).map_or(UNKNOWN, |code| Exit { code })
    }

    async fn end(self, exit: Exit) {
        remove(&self.docker, &self.id).await;
        self.exit.send_replace(Some(exit));
    }
}

// === impl DockerContainer ===

impl DockerContainer {
    async fn signal(&self, signal: &str) {
        let options = KillContainerOptions { signal: signal.into() };
        match self.docker.kill_container(&self.id, Some(options)).await {
            Ok(()) => {}
            // It has ended already.
            Err(error) if has_status(&error, &[404, 409]) => {}
            Err(error) => tracing::warn!(container = self.name, %error, "failed to signal a container"),
        }
    }
}

impl Container for DockerContainer {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        let mut exit = self.exit.clone();
        async move {
            match exit.wait_for(Option::is_some).await {
                Ok(exit) => exit.unwrap_or(UNKNOWN),
                Err(_) => UNKNOWN,
            }
        }
        .boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        async move {
            if self.exit.borrow().is_none() {
                self.signal("SIGTERM").await;
            }
            if let Ok(exit) = timeout(grace, self.wait()).await {
                return exit;
            }
            self.signal("SIGKILL").await;
            match timeout(KILL_LIMIT, self.wait()).await {
                Ok(exit) => exit,
                Err(_) => {
                    remove(&self.docker, &self.id).await;
                    KILLED
                }
            }
        }
        .boxed()
    }

    fn exec(
        &self,
        command: Vec<String>,
        stdin: bool,
        tty: bool,
    ) -> BoxFuture<'_, Result<ExecSession, NodeError>> {
        async move {
            if self.exit.borrow().is_some() {
                return Err(NodeError::NotRunning(self.name.clone()));
            }
            exec::start(&self.docker, &self.id, command, stdin, tty).await
        }
        .boxed()
    }
}
