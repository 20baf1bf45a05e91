//! A cursor over the window of last writes.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::watch;

use super::{Shared, history::Event, object::Key};

/// Events taken from the window at once: bounds what one slow watcher keeps alive.
const BATCH: usize = 64;

/// Follows the writes of a resource. It sees each of them once and in order, or is told that it fell behind.
pub struct Watcher {
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
    resource: Option<String>,
    namespace: Option<String>,
    cursor: u64,
    pending: VecDeque<Event>,
}

/// The window of last writes begins after the revision asked for: list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {requested} ({oldest})")]
pub struct Expired {
    /// The revision asked for.
    pub requested: u64,
    /// The oldest one that would do.
    pub oldest: u64,
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        resource: Option<&str>,
        namespace: Option<&str>,
        cursor: u64,
    ) -> Result<Self, Expired> {
        let oldest = shared.read(super::View::oldest_watchable);
        if cursor < oldest {
            return Err(Expired { requested: cursor, oldest });
        }
        let changed = shared.revision.subscribe();
        let (resource, namespace) = (resource.map(str::to_owned), namespace.map(str::to_owned));
        Ok(Self { shared, changed, resource, namespace, cursor, pending: VecDeque::new() })
    }

    /// The revision up to which everything was delivered: what a bookmark says.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.pending.front().map_or(self.cursor, |event| event.object.revision() - 1)
    }

    /// Waits for the next write. Safe to cancel.
    ///
    /// # Errors
    /// [`Expired`] when this watcher was slower than the window is long.
    pub async fn next(&mut self) -> Result<Event, Expired> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            self.changed.mark_unchanged();
            self.fill()?;
            if self.pending.is_empty() && self.changed.changed().await.is_err() {
                // Cannot happen while `shared`, which holds the sender, is ours.
                std::future::pending::<()>().await;
            }
        }
    }

    fn fill(&mut self) -> Result<(), Expired> {
        let wanted = |key: &Key| {
            self.resource.as_ref().is_none_or(|r| *r == key.resource)
                && self.namespace.as_ref().is_none_or(|n| *n == key.namespace)
        };
        let (events, oldest, newest) = self
            .shared
            .read(|view| (view.events(self.cursor, BATCH, wanted), view.oldest_watchable(), view.revision()));
        let events = events.ok_or(Expired { requested: self.cursor, oldest })?;
        self.cursor = match events.last() {
            Some(last) if events.len() == BATCH => last.object.revision(),
            _ => newest.max(self.cursor),
        };
        self.pending.extend(events);
        Ok(())
    }
}
