//! The one writer: takes changes from a bounded queue, checks their preconditions, commits as many as are waiting in
//! one transaction, and only then shows them to readers and answers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    Expect, Shared, WriteError,
    disk::{Disk, Op},
    object::{Key, Object},
    view::Applied,
};

/// Changes that may wait; further callers wait for room.
const QUEUE: usize = 256;
/// Most changes in one transaction.
const BATCH: usize = 128;

/// Largest object: twice what a cluster stores, since ours carry their text as JSON.
const MAX_OBJECT: usize = 3 << 20;

/// A write that was asked for.
pub(super) enum Change {
    /// Store `value` when `expect` holds.
    Put { key: Key, value: Value, expect: Expect },
    /// Remove the object when it is at `revision`; watchers see `last`.
    Delete { key: Key, last: Value, revision: u64 },
}

type Answer = oneshot::Sender<Result<Arc<Object>, WriteError>>;

/// What is in the queue.
enum Request {
    Write(Change, Answer),
    /// Close the file, then answer.
    Close(oneshot::Sender<()>),
}

/// The handle of the writer thread; dropping it ends the thread after the queue is empty.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Changes that passed their checks, in revision order.
struct Batch {
    revision: u64,
    /// The state of the keys this batch touched: the revision, or `None` when removed.
    touched: HashMap<Key, Option<u64>>,
    ready: Vec<(Applied, Answer)>,
}

// === impl Writer ===

impl Writer {
    /// Starts the thread.
    pub(super) fn start(disk: Disk, shared: Arc<Shared>) -> std::io::Result<Self> {
        let (queue, changes) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(disk, &shared, changes))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Hands over a change and waits until it is on disk.
    pub(super) async fn send(&self, change: Change) -> Result<Arc<Object>, WriteError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(WriteError::Closed)?;
        queue.send(Request::Write(change, answer)).await.map_err(|_| WriteError::Closed)?;
        answered.await.map_err(|_| WriteError::Closed)?
    }

    /// Finishes what is in the queue and closes the file; later writes are refused.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if let Some(queue) = &self.queue
            && queue.send(Request::Close(answer)).await.is_ok()
        {
            // A writer that has gone already has closed the file, too.
            let _ = answered.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A writer that panicked has told its waiters `Closed` by dropping their answers.
        let _ = thread.map(JoinHandle::join);
    }
}

fn run(disk: Disk, shared: &Shared, mut requests: mpsc::Receiver<Request>) {
    let mut closing = None;
    while closing.is_none()
        && let Some(first) = requests.blocking_recv()
    {
        let mut batch = Batch::new(shared.read(super::View::revision));
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Write(change, answer) => batch.add(shared, change, answer),
                Request::Close(answer) => closing = Some(answer),
            }
            if closing.is_none() && batch.ready.len() < BATCH {
                next = requests.try_recv().ok();
            }
        }
        batch.commit(&disk, shared);
    }
    drop(disk);
    // Whoever wanted it closed may have gone.
    let _ = closing.map(|answer| answer.send(()));
}

// === impl Batch ===

impl Batch {
    fn new(revision: u64) -> Self {
        Self { revision, touched: HashMap::new(), ready: Vec::new() }
    }

    /// Checks a change and takes it in, or answers it with the reason why not.
    fn add(&mut self, shared: &Shared, change: Change, answer: Answer) {
        match self.prepare(shared, change) {
            Ok(applied) => self.ready.push((applied, answer)),
            // A caller that went away does not want to know.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn prepare(&mut self, shared: &Shared, change: Change) -> Result<Applied, WriteError> {
        match change {
            Change::Put { key, value, expect } => {
                match (expect, self.current(shared, &key)) {
                    (Expect::Absent, None) => {}
                    (Expect::Revision(expected), Some(current)) if expected == current => {}
                    (Expect::Absent, Some(_)) => return Err(WriteError::Exists(key)),
                    (Expect::Revision(_), _) => return Err(WriteError::Conflict(key)),
                }
                let object = self.stamp(key.clone(), value)?;
                self.touched.insert(key, Some(object.revision()));
                Ok(Applied::Put(Arc::new(object)))
            }
            Change::Delete { key, last, revision } => {
                if self.current(shared, &key) != Some(revision) {
                    return Err(WriteError::Conflict(key));
                }
                let object = self.stamp(key.clone(), last)?;
                self.touched.insert(key, None);
                Ok(Applied::Deleted(Arc::new(object)))
            }
        }
    }

    fn current(&self, shared: &Shared, key: &Key) -> Option<u64> {
        match self.touched.get(key) {
            Some(state) => *state,
            None => shared.read(|view| view.get(key)).map(|object| object.revision()),
        }
    }

    /// Gives the object the next revision.
    fn stamp(&mut self, key: Key, mut value: Value) -> Result<Object, WriteError> {
        let revision = self.revision + 1;
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), json!(revision.to_string()));
        }
        let text = serde_json::to_vec(&value).map_err(|e| WriteError::Disk(e.to_string()))?;
        if text.len() > MAX_OBJECT {
            return Err(WriteError::TooLarge { key, size: text.len(), max: MAX_OBJECT });
        }
        let object =
            Object::parse(key, revision, Bytes::from(text)).map_err(|e| WriteError::Disk(e.to_string()))?;
        self.revision = revision;
        Ok(object)
    }

    fn commit(self, disk: &Disk, shared: &Shared) {
        if self.ready.is_empty() {
            return;
        }
        let ops = self.ready.iter().map(|(applied, _)| match applied {
            Applied::Put(object) => Op::Put(object),
            Applied::Deleted(object) => Op::Delete(object.key()),
        });
        match disk.commit(ops, self.revision) {
            Ok(()) => self.publish(shared),
            Err(error) => self.refuse(&error),
        }
    }

    fn publish(self, shared: &Shared) {
        let mut answers = Vec::with_capacity(self.ready.len());
        shared.write(|view| {
            for (applied, answer) in self.ready {
                let (Applied::Put(object) | Applied::Deleted(object)) = &applied;
                answers.push((Arc::clone(object), answer));
                view.apply(applied);
            }
        });
        for (object, answer) in answers {
            // The write happened; a caller that went away does not want to know.
            let _ = answer.send(Ok(object));
        }
    }

    fn refuse(self, error: &redb::Error) {
        tracing::error!(%error, "cannot commit to the store");
        for (_, answer) in self.ready {
            let _ = answer.send(Err(WriteError::Disk(error.to_string())));
        }
    }
}
