//! The shim's stdout: one thread writes, everybody else hands it whole lines through a bounded queue.
//!
//! A thread of its own, because stdout is often a file or a pipe that somebody else set up, and must not be made
//! non-blocking. It waits a moment for more before it writes, so that a busy shim wakes it and calls the kernel once for the
//! lines of many invokes. When nobody reads any more, lines are dropped and the function keeps running.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// A way to stdout. Clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    chunks: mpsc::Sender<Bytes>,
    /// Bytes that may still be queued.
    room: Arc<Semaphore>,
}

/// The thread's end, to wait for.
#[derive(Debug)]
pub(crate) struct Closing(oneshot::Receiver<()>);

/// Bytes that may wait to be written; a single larger chunk waits alone.
const ROOM: u32 = 1 << 20;

/// Chunks that may wait: as many as that, when they are lines.
const CHUNKS: usize = 4096;

/// How long lines wait for others to be written with them. Nobody who reads a log sees it.
const LINGER: Duration = Duration::from_millis(2);

/// Bytes that are worth a write of their own: so many do not wait for others.
const ENOUGH: usize = 64 << 10;

// === impl Sink ===

impl Sink {
    /// Starts the thread. It ends when all clones are gone and everything is written.
    pub(crate) fn start(to: impl Write + Send + 'static) -> std::io::Result<(Self, Closing)> {
        let (chunks, chunk_rx) = mpsc::channel(CHUNKS);
        let (closed_tx, closed_rx) = oneshot::channel();
        let room = Arc::new(Semaphore::new(ROOM as usize));
        let sink = Self { chunks, room: Arc::clone(&room) };
        std::thread::Builder::new().name("stdout".into()).spawn(move || {
            write_all(chunk_rx, &room, to);
            room.close();
            let _ = closed_tx.send(());
        })?;
        Ok((sink, Closing(closed_rx)))
    }

    /// Hands over whole lines; waits while stdout is slow.
    pub(crate) async fn write(&self, lines: Bytes) {
        if lines.is_empty() {
            return;
        }
        // Both fail only when the thread is gone, and then there is no stdout to complain on.
        if let Ok(room) = self.room.acquire_many(room_for(&lines)).await
            && self.chunks.send(lines).await.is_ok()
        {
            // The thread gives it back.
            room.forget();
        }
    }
}

/// What a chunk takes of [`ROOM`].
fn room_for(lines: &Bytes) -> u32 {
    u32::try_from(lines.len()).unwrap_or(ROOM).min(ROOM)
}

fn write_all(mut chunks: mpsc::Receiver<Bytes>, room: &Semaphore, mut to: impl Write) {
    let mut readable = true;
    let mut batch = Vec::new();
    while let Some(first) = chunks.blocking_recv() {
        let waiting = ROOM as usize - room.available_permits();
        if waiting < ENOUGH && !chunks.is_closed() {
            std::thread::sleep(LINGER);
        }
        let mut freed = room_for(&first) as usize;
        batch.extend_from_slice(&first);
        while batch.len() < ENOUGH
            && let Ok(more) = chunks.try_recv()
        {
            freed += room_for(&more) as usize;
            batch.extend_from_slice(&more);
        }
        // A closed stdout stays closed; the queue is still emptied so that nobody waits on it.
        readable = readable && to.write_all(&batch).and_then(|()| to.flush()).is_ok();
        batch.clear();
        batch.shrink_to(2 * ENOUGH);
        room.add_permits(freed);
    }
}

// === impl Closing ===

impl Closing {
    /// Waits until everything is written, at most `limit`.
    pub(crate) async fn wait(self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What was written, call by call.
    #[derive(Clone, Default)]
    struct Calls(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    async fn written(chunks: Vec<Bytes>) -> Vec<Vec<u8>> {
        let calls = Calls::default();
        let (sink, closing) = Sink::start(calls.clone()).unwrap();
        for chunk in chunks {
            sink.write(chunk).await;
        }
        drop(sink);
        closing.wait(Duration::from_secs(30)).await;
        calls.0.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn lines_of_one_moment_are_written_together_and_in_order() {
        let lines: Vec<Bytes> = (0..200).map(|n| format!("{n}\n").into()).collect();
        let calls = written(lines.clone()).await;
        assert_eq!(calls.concat(), lines.concat());
        assert!(calls.len() < 100, "{} calls", calls.len());
    }

    #[tokio::test]
    async fn a_chunk_larger_than_all_room_is_written() {
        let large = Bytes::from(vec![b'x'; 3 * ROOM as usize]);
        let chunks = vec![Bytes::from_static(b"a\n"), large.clone(), Bytes::from_static(b"b\n")];
        assert_eq!(written(chunks.clone()).await.concat(), chunks.concat());
    }
}
