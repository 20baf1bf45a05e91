//! Commands in a running container.
//!
//! Docker has no way to end a command whose client went away: it sees its input end and its output refused, and goes on
//! until it ends by itself or the container does.

use std::time::Duration;

use bollard::{
    Docker,
    errors::Error,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
};
use futures::FutureExt;
use tokio::time::{sleep, timeout};

use super::output;
use crate::node::{ExecSession, NodeError};

/// How long Docker may take to know the exit code once the output has ended.
const EXIT_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Starts `command` in the container `id`.
pub(super) async fn start(
    docker: &Docker,
    id: &str,
    command: Vec<String>,
    stdin: bool,
    tty: bool,
) -> Result<ExecSession, NodeError> {
    let name = command.first().cloned().unwrap_or_default();
    let failed = |error| NodeError::CannotStart { command: name, source: std::io::Error::other(error) };
    let (exec, started) = attach(docker, id, command, stdin, tty).await.map_err(failed)?;
    let StartExecResults::Attached { output, input } = started else {
        return Err(NodeError::Io(std::io::Error::other("the command has no output")));
    };
    let (stdout, stderr, pump) = output::split(output);
    let docker = docker.clone();
    let exit = async move {
        pump.await;
        exit_code(&docker, &exec).await
    };
    Ok(ExecSession {
        stdin: stdin.then_some(input),
        stdout: Box::pin(stdout),
        stderr: if tty { None } else { Some(Box::pin(stderr)) },
        exit: exit.boxed(),
    })
}

async fn attach(
    docker: &Docker,
    id: &str,
    command: Vec<String>,
    stdin: bool,
    tty: bool,
) -> Result<(String, StartExecResults), Error> {
    let options = CreateExecOptions {
        attach_stdin: Some(stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(tty),
        cmd: Some(command),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(id, options).await?.id;
    let started =
        docker.start_exec(&exec, Some(StartExecOptions { tty, ..StartExecOptions::default() })).await?;
    Ok((exec, started))
}

/// The output ends a moment before Docker has noted the exit code.
async fn exit_code(docker: &Docker, exec: &str) -> Result<i32, NodeError> {
    let ended = async {
        loop {
            let state = docker.inspect_exec(exec).await.map_err(std::io::Error::other)?;
            if let (Some(false), Some(code)) = (state.running, state.exit_code) {
                return Ok(i32::try_from(code).unwrap_or(255));
            }
            sleep(LOOK).await;
        }
    };
    timeout(EXIT_LIMIT, ended).await.unwrap_or_else(|_| {
        Err(NodeError::Io(std::io::Error::other("the command's end was not reported in time")))
    })
}
