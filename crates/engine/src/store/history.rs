//! The window of last writes that watchers read from. It is every watcher's buffer, so no watcher has its own:
//! one that falls behind the window is told so and lists again.

use std::{collections::VecDeque, sync::Arc};

use super::object::Object;

/// Most events kept.
const MAX_EVENTS: usize = 4096;
/// Most bytes of object text kept.
const MAX_BYTES: usize = 4 << 20;

/// What a write did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The object is new.
    Added,
    /// The object was there before.
    Modified,
    /// The object is gone.
    Deleted,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it did.
    pub kind: EventKind,
    /// The object after it; for [`EventKind::Deleted`] the last state.
    pub object: Arc<Object>,
    /// The object before it; `None` for [`EventKind::Added`].
    pub previous: Option<Arc<Object>>,
}

/// The last writes, oldest first, with revisions rising.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Event>,
    bytes: usize,
    floor: u64,
}

// === impl History ===

impl History {
    /// An empty window: nothing at or before `floor` is remembered.
    pub(super) fn new(floor: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, floor }
    }

    /// The oldest revision a watch can go on from.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Adds the newest write and forgets the oldest ones beyond the bounds.
    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.object.json().len();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || (self.bytes > MAX_BYTES && self.events.len() > 1) {
            let Some(old) = self.events.pop_front() else { break };
            self.bytes -= old.object.json().len();
            self.floor = old.object.revision();
        }
    }

    /// The events after `revision`, oldest first.
    pub(super) fn after(&self, revision: u64) -> impl Iterator<Item = &Event> {
        let start = self.events.partition_point(|event| event.object.revision() <= revision);
        self.events.range(start..)
    }
}
