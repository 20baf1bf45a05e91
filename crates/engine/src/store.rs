//! The engine's memory: every API object, on disk in one redb file and in memory for reads.
//!
//! Handlers of `api/` read from the in-memory view and hand writes to the one writer thread. A write is acknowledged
//! only after its transaction is on disk. Each write takes the next revision (the API's `resourceVersion`), and the
//! last writes are kept in a bounded window that watchers read from.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::Value;
use tokio::sync::watch;

mod disk;
mod history;
mod object;
mod view;
mod watcher;
mod writer;

pub use history::{Event, EventKind};
pub use object::{Key, Object, OwnerRef};
pub use watcher::{Expired, Watcher};

use view::View;
use writer::{Change, Writer};

/// Every API object of this machine. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

/// What readers and the writer thread share.
struct Shared {
    view: RwLock<View>,
    revision: watch::Sender<u64>,
}

/// What must be true of the stored object for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no such object.
    Absent,
    /// The object is there, at this revision.
    Revision(u64),
}

/// One page of a list, and the revision it is true for.
#[derive(Clone, Debug)]
pub struct Page {
    /// Objects in key order.
    pub objects: Vec<Arc<Object>>,
    /// The revision a watch goes on from.
    pub revision: u64,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// Another engine has the file.
    #[error("the store {0} is in use by another process")]
    InUse(String),
    /// The file is not a store, or is damaged.
    #[error("the store {path} is damaged: {detail}")]
    Corrupt {
        /// The file.
        path: String,
        /// What was found.
        detail: String,
    },
    /// The file cannot be read or written.
    #[error("cannot open the store {path}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object is already there.
    #[error("{0} already exists")]
    Exists(Key),
    /// The object is not there, or was changed in the meantime.
    #[error("{0} has been modified")]
    Conflict(Key),
    /// The object is larger than any may be.
    #[error("{key} has {size} bytes, more than {max}")]
    TooLarge {
        /// Which one.
        key: Key,
        /// How large it is.
        size: usize,
        /// How large it may be.
        max: usize,
    },
    /// The disk refused.
    #[error("cannot write the store: {0}")]
    Disk(String),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}

// === impl Store ===

impl Store {
    /// Opens the store file, makes it when it is not there, and reads it into memory.
    ///
    /// # Errors
    /// [`OpenStoreError`] says whether the file is in use, damaged or not accessible.
    pub fn open(path: &Path) -> Result<Self, OpenStoreError> {
        let (disk, view) = disk::Disk::open(path)?;
        let (revision, _) = watch::channel(view.revision());
        let shared = Arc::new(Shared { view: RwLock::new(view), revision });
        let writer = Writer::start(disk, Arc::clone(&shared)).map_err(|source| OpenStoreError::Io {
            path: path.display().to_string(),
            source: Box::new(redb::Error::Io(source)),
        })?;
        Ok(Self { shared, writer: Arc::new(writer) })
    }

    /// The object under `key`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.shared.read(|view| view.get(key))
    }

    /// The objects of a resource, in one namespace or in all, and the revision that list is true for.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Page {
        self.shared.read(|view| Page { objects: view.list(resource, namespace), revision: view.revision() })
    }

    /// Every object, in key order: for what looks across kinds (owners, contents of a namespace).
    #[must_use]
    pub fn all(&self) -> Page {
        self.shared.read(|view| Page { objects: view.all(), revision: view.revision() })
    }

    /// The revision of the last write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.read(View::revision)
    }

    /// The oldest revision a watch can go on from.
    #[must_use]
    pub fn oldest_watchable(&self) -> u64 {
        self.shared.read(View::oldest_watchable)
    }

    /// Writes an object; its `metadata.resourceVersion` becomes the new revision.
    ///
    /// # Errors
    /// [`WriteError::Exists`] and [`WriteError::Conflict`] when `expect` does not hold.
    pub async fn put(&self, key: Key, value: Value, expect: Expect) -> Result<Arc<Object>, WriteError> {
        self.writer.send(Change::Put { key, value, expect }).await
    }

    /// Removes an object; watchers see `last` with the revision of the removal.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] when the object is not at `revision` any more.
    pub async fn delete(&self, key: Key, last: Value, revision: u64) -> Result<Arc<Object>, WriteError> {
        self.writer.send(Change::Delete { key, last, revision }).await
    }

    /// Closes the file once the writes that were asked for are done. Reads go on; writes are refused.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    /// Follows the writes after `revision`, of one resource or of all.
    ///
    /// # Errors
    /// [`Expired`] when the window no longer reaches back that far.
    pub fn watch(
        &self,
        resource: Option<&str>,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Watcher, Expired> {
        Watcher::new(Arc::clone(&self.shared), resource, namespace, revision)
    }
}

// === impl Shared ===

impl Shared {
    /// Runs `f` on the view. A poisoned lock is taken over: the view is only changed by plain inserts and removals.
    fn read<T>(&self, f: impl FnOnce(&View) -> T) -> T {
        f(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the view, then wakes the watchers.
    fn write(&self, f: impl FnOnce(&mut View)) {
        let revision = {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            f(&mut view);
            view.revision()
        };
        self.revision.send_replace(revision);
    }
}

#[cfg(test)]
mod tests;
