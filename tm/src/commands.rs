//! The stories: one file per verb.

mod completion;
mod delete;
mod deploy_service;
mod deploy_task;
mod describe;
mod doctor;
mod get;
mod local;
mod logs;
mod output;
mod prompt;
mod registry_auth;
mod setup;
mod version;

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Cli, Command, Deploy, Global, Set},
    error::{Interrupted, InterruptedExt},
    printer::Printer,
};

/// What every story has.
#[derive(Clone)]
pub(crate) struct Session {
    /// Flags of every command.
    pub(crate) global: Arc<Global>,
    /// Writes to the terminal.
    pub(crate) printer: Printer,
    /// Says that the user pressed Ctrl-C.
    pub(crate) interrupt: Interrupt,
}

/// Ctrl-C, or SIGTERM as CI systems send it: the first ends the story, which cleans up after itself; the second ends the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    token: CancellationToken,
}

// === impl Interrupt ===

impl Interrupt {
    /// Runs `work` until it is done or the user pressed Ctrl-C.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.token.cancelled() => Err(Interrupted::default().into()),
        }
    }

    /// Whether it was pressed.
    pub(crate) fn is_pressed(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when Ctrl-C is pressed although the story was told to end already.
    async fn second(self, [mut interrupt, mut terminate]: [Signal; 2]) {
        let mut pressed = async || {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                else => std::future::pending().await,
            }
        };
        pressed().await;
        self.token.cancel();
        pressed().await;
    }
}

/// Runs the command.
pub(crate) async fn run(cli: Cli, printer: &Printer) -> Result<()> {
    let interrupt = Interrupt::default();
    let session =
        Session { global: Arc::new(cli.global), printer: printer.clone(), interrupt: interrupt.clone() };
    // Before anything is begun: from here on Ctrl-C is told to the story instead of ending the process.
    let listen = |kind| signal(kind).context("failed to listen for Ctrl-C");
    let signals = [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?];
    let story = story(cli.command, session);
    tokio::select! {
        biased;
        result = story => result,
        () = interrupt.second(signals) => Err(Interrupted::default().into())
            .interrupted_leaves(|| "twice, so what was begun may be left".into()),
    }
}

async fn story(command: Command, session: Session) -> Result<()> {
    let interrupt = session.interrupt.clone();
    match command {
        // Cleans up after itself: it is told of the interrupt instead of being dropped.
        Command::Deploy(Deploy::Service(args)) => Box::pin(deploy_service::run(*args, session)).await,
        Command::Deploy(Deploy::Task(args)) => interrupt.guard(deploy_task::run(args, session)).await,
        Command::Get(args) => interrupt.guard(get::run(args, session)).await,
        Command::Describe(args) => interrupt.guard(Box::pin(describe::run(args, session))).await,
        Command::Delete(args) => interrupt.guard(delete::run(args, session)).await,
        Command::Logs(args) => interrupt.guard(Box::pin(logs::run(args, session))).await,
        Command::Set(Set::RegistryAuth(args)) => interrupt.guard(registry_auth::run(args, session)).await,
        Command::Setup(args) => interrupt.guard(Box::pin(setup::run(args, session))).await,
        Command::Doctor(args) => Box::pin(doctor::run(args, session)).await,
        Command::Local(args) => interrupt.guard(local::run(args, session)).await,
        Command::Version => version::run(&session).await,
        Command::Completion { shell } => completion::run(shell, &session),
    }
}
