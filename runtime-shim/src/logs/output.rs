//! Where one worker's lines go: to stdout, into the tail that a caller may ask for (LG-10), and to extensions that subscribed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tm_lambda::log::ApplicationLog;
use tm_lambda::log_tail::LogTail;
use tm_lambda::telemetry::Category;

use super::{Note, SETTLE, Said, Sink, lost};
use crate::telemetry::Hub;

/// The lines of one worker. Clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    sink: Sink,
    tail: Arc<Mutex<LogTail>>,
    log: ApplicationLog,
    hub: Hub,
}

/// What becomes of the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It belongs to the next invoke as well: an init, say.
    Keep,
    /// Its invoke is over, and nobody asked.
    Drop,
    /// Its invoke is over, and somebody asked.
    Take,
}

// === impl Output ===

impl Output {
    pub(crate) fn new(sink: Sink, log: ApplicationLog, hub: Hub) -> Self {
        Self { sink, tail: Arc::default(), log, hub }
    }

    /// Writes what processes said; waits while stdout is slow.
    pub(crate) async fn said(&self, said: Said) {
        let Said { function, extension } = said;
        if self.hub.is_active() {
            self.hub.lines(Category::Function, &function);
            self.hub.lines(Category::Extension, &extension);
        }
        self.function(function).await;
        self.write(extension).await;
    }

    /// Writes the function's lines. A log in JSON has those of its level; the tail has all (LG-11), as subscribers do.
    async fn function(&self, lines: Bytes) {
        if !lines.is_empty() {
            self.lock().push(&lines);
            self.sink.write(self.log.wanted(&lines)).await;
        }
    }

    /// Writes what the platform says of a worker that has no lane; waits a moment at most while stdout is slow.
    pub(crate) async fn say(&self, note: Note) {
        if tokio::time::timeout(SETTLE, self.note(note)).await.is_err() {
            lost();
        }
    }

    /// Writes what the platform says; waits while stdout is slow.
    pub(super) async fn note(&self, note: Note) {
        let Note { lines, unfiltered, records } = note;
        if !records.is_empty() {
            self.hub.records(records);
        }
        if unfiltered.is_empty() {
            return self.write(lines.into()).await;
        }
        self.lock().push(unfiltered.as_bytes());
        self.sink.write(lines.into()).await;
    }

    /// Writes whole lines; waits while stdout is slow.
    async fn write(&self, lines: Bytes) {
        if !lines.is_empty() {
            self.lock().push(&lines);
            self.sink.write(lines).await;
        }
    }

    /// Ends the stretch of an invoke, or not.
    pub(crate) fn tail(&self, what: Tail) -> Option<String> {
        match what {
            Tail::Keep => None,
            Tail::Drop => {
                self.lock().clear();
                None
            }
            Tail::Take => Some(self.lock().take(self.log.format)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LogTail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
