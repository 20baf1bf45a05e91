//! A node without containers: commands are processes of the machine, logs are what the test says.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use tm_engine::node::{ContainerRef, ExecSession, LogOptions, Node, NodeError};
use tokio::{process::Command, sync::watch};

/// The node.
#[derive(Default)]
pub struct FakeNode {
    logs: Mutex<HashMap<String, watch::Sender<Log>>>,
}

/// A container's log so far.
#[derive(Clone, Debug, Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

// === impl FakeNode ===

impl FakeNode {
    /// A container of that name says a line.
    pub fn say(&self, container: &str, line: &str) {
        self.change(container, |log| log.lines.push(format!("{line}\n")));
    }

    /// A container of that name ends.
    pub fn end(&self, container: &str) {
        self.change(container, |log| log.ended = true);
    }

    fn change(&self, container: &str, change: impl FnOnce(&mut Log)) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.entry(container.to_owned()).or_default().send_modify(change);
    }

    fn follow(&self, container: &str) -> watch::Receiver<Log> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.entry(container.to_owned()).or_default().subscribe()
    }
}

impl Node for FakeNode {
    fn logs(
        &self,
        container: ContainerRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<BoxStream<'static, std::io::Result<Bytes>>, NodeError>> {
        let log = self.follow(&container.container);
        async move { Ok(lines(log, &options)) }.boxed()
    }

    fn exec(
        &self,
        _: ContainerRef,
        command: Vec<String>,
        stdin: bool,
        _: bool,
    ) -> BoxFuture<'_, Result<ExecSession, NodeError>> {
        async move { start(&command, stdin) }.boxed()
    }
}

fn lines(log: watch::Receiver<Log>, options: &LogOptions) -> BoxStream<'static, std::io::Result<Bytes>> {
    let total = log.borrow().lines.len();
    let tail = options.tail_lines.and_then(|n| usize::try_from(n).ok());
    let start = total.saturating_sub(tail.unwrap_or(total));
    let follow = options.follow;
    let all = stream::unfold((log, start), move |(mut log, at)| async move {
        loop {
            let now = log.borrow_and_update().clone();
            if let Some(line) = now.lines.get(at) {
                return Some((Ok(Bytes::from(line.clone())), (log, at + 1)));
            }
            if !follow || now.ended || log.changed().await.is_err() {
                return None;
            }
        }
    });
    all.boxed()
}

fn start(command: &[String], stdin: bool) -> Result<ExecSession, NodeError> {
    let (program, args) = command.split_first().ok_or_else(|| NodeError::NotRunning("nothing".into()))?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| NodeError::CannotStart { command: program.clone(), source })?;
    let missing = || NodeError::Io(std::io::Error::other("a pipe is missing"));
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let input = child.stdin.take();
    Ok(ExecSession {
        stdin: input.map(|pipe| Box::pin(pipe) as _),
        stdout: Box::pin(stdout),
        stderr: Some(Box::pin(stderr)),
        exit: async move { Ok(child.wait().await?.code().unwrap_or(137)) }.boxed(),
    })
}
