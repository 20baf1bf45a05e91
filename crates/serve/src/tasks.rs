//! An owner for spawned tasks: they have a name, they are joined with a deadline, and they die with their owner.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A set of tasks. Dropping it cuts those that still run.
#[derive(Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cut: CancellationToken,
}

/// How a wait for tasks or connections ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All of them ended by themselves.
    Finished,
    /// So many were cut at the deadline.
    Cut(usize),
}

// === impl Tasks ===

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task under `name`. The handle may be dropped; it gives `None` when the task was cut.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let cut = self.cut.clone();
        let guarded = async move { cut.run_until_cancelled_owned(future).await };
        self.tracker.spawn(guarded.instrument(tracing::debug_span!("task", name)))
    }

    /// Waits until all tasks have ended, at most `timeout`; then cuts the rest and waits for that.
    pub async fn join(self, timeout: Duration) -> Drained {
        self.tracker.close();
        if tokio::time::timeout(timeout, self.tracker.wait()).await.is_ok() {
            return Drained::Finished;
        }
        let left = self.tracker.len();
        self.cut.cancel();
        self.tracker.wait().await;
        Drained::Cut(left)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}
