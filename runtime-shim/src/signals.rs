//! SIGTERM and SIGINT stop the shim, a second one aborts it; SIGCHLD reaps.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::process::children::Children;

/// The signals that stop the shim.
#[derive(Debug)]
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Stop ===

impl Stop {
    /// Takes the signals over. As PID 1 there would be no default action for them.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Cancels `first` on the first signal and `second` on the second.
    pub(crate) async fn run(mut self, first: CancellationToken, second: CancellationToken) {
        self.next().await;
        tracing::info!("told to stop");
        first.cancel();
        self.next().await;
        tracing::warn!("told twice to stop");
        second.cancel();
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for processes for as long as the shim runs.
pub(crate) fn reap(children: Arc<Children>) -> io::Result<impl Future<Output = ()>> {
    let mut ended = signal(SignalKind::child())?;
    Ok(async move {
        while ended.recv().await.is_some() {
            children.reap();
        }
    })
}
