//! The shim's stdout: one thread writes, everybody else hands it whole lines through a bounded queue.
//!
//! A thread of its own, because stdout is often a file or a pipe that somebody else set up, and must not be made
//! non-blocking. When nobody reads any more, lines are dropped and the function keeps running.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// A way to stdout. Clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    chunks: mpsc::Sender<Bytes>,
}

/// The thread's end, to wait for.
#[derive(Debug)]
pub(crate) struct Closing(oneshot::Receiver<()>);

/// Chunks that may wait: few, as each may be as large as a pipe.
const CHUNKS: usize = 32;

// === impl Sink ===

impl Sink {
    /// Starts the thread. It ends when all clones are gone and everything is written.
    pub(crate) fn start(to: impl Write + Send + 'static) -> std::io::Result<(Self, Closing)> {
        let (chunks, chunk_rx) = mpsc::channel(CHUNKS);
        let (closed_tx, closed_rx) = oneshot::channel();
        std::thread::Builder::new().name("stdout".into()).spawn(move || {
            write_all(chunk_rx, to);
            let _ = closed_tx.send(());
        })?;
        Ok((Self { chunks }, Closing(closed_rx)))
    }

    /// Hands over whole lines; waits while stdout is slow.
    pub(crate) async fn write(&self, lines: Bytes) {
        if !lines.is_empty() {
            // Fails only when the thread is gone, and then there is no stdout to complain on.
            let _ = self.chunks.send(lines).await;
        }
    }
}

/// Writes whatever is there at once: under load one call carries the lines of several invokes.
fn write_all(mut chunks: mpsc::Receiver<Bytes>, mut to: impl Write) {
    let mut readable = true;
    let mut batch = Vec::with_capacity(CHUNKS);
    while chunks.blocking_recv_many(&mut batch, CHUNKS) > 0 {
        // A closed stdout stays closed; the queue is still emptied so that nobody waits on it.
        readable = readable && to.write_all(&join(&mut batch)).and_then(|()| to.flush()).is_ok();
        batch.clear();
    }
}

/// One piece of several; usually there is just one.
fn join(batch: &mut Vec<Bytes>) -> Bytes {
    match batch.as_slice() {
        [_] => batch.remove(0),
        several => several.concat().into(),
    }
}

// === impl Closing ===

impl Closing {
    /// Waits until everything is written, at most `limit`.
    pub(crate) async fn wait(self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.0).await;
    }
}
