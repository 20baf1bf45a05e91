//! The in-memory state: all objects, the current revision and the window of last writes, always in step.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    history::{Event, EventKind, History},
    object::{Key, Object},
};

/// All objects at the current revision.
pub(super) struct View {
    objects: BTreeMap<Key, Arc<Object>>,
    revision: u64,
    history: History,
}

/// A write as the writer thread hands it over, after it is on disk.
pub(super) enum Applied {
    /// The object's new state.
    Put(Arc<Object>),
    /// The removed object's last state.
    Deleted(Arc<Object>),
}

// === impl View ===

impl View {
    /// The state as read from disk.
    pub(super) fn new(objects: BTreeMap<Key, Arc<Object>>, revision: u64) -> Self {
        Self { objects, revision, history: History::new(revision) }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn oldest_watchable(&self) -> u64 {
        self.history.floor()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let from = Key::new(resource, namespace.unwrap_or_default(), "");
        self.objects
            .range(from..)
            .take_while(|(key, _)| key.resource == resource && namespace.is_none_or(|n| key.namespace == n))
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Object>> {
        self.objects.values().cloned().collect()
    }

    /// Takes over one durable write.
    pub(super) fn apply(&mut self, applied: Applied) {
        let event = match applied {
            Applied::Put(object) => {
                let previous = self.objects.insert(object.key().clone(), Arc::clone(&object));
                let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                Event { kind, object, previous }
            }
            Applied::Deleted(object) => {
                let previous = self.objects.remove(object.key());
                Event { kind: EventKind::Deleted, object, previous }
            }
        };
        self.revision = event.object.revision();
        self.history.push(event);
    }

    /// Events after `revision`, at most `max`, that `wanted` accepts; `None` when the window begins later.
    pub(super) fn events(
        &self,
        revision: u64,
        max: usize,
        wanted: impl Fn(&Key) -> bool,
    ) -> Option<Vec<Event>> {
        (revision >= self.history.floor()).then(|| {
            self.history.after(revision).filter(|e| wanted(e.object.key())).take(max).cloned().collect()
        })
    }
}
