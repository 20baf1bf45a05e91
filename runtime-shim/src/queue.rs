//! The bounded queue between the front and the workers. The front pushes, workers pop, the pool watches for shortage.
//!
//! Full means 429 at once. What expires while it waits is answered when it is found: at a pop, or at a push that needs
//! the room. A closed queue hands out what it holds and takes nothing more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::invocation::Invocation;

/// A bounded queue of invokes.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// One permit per queued invoke.
    available: Semaphore,
    /// Queue → pool: somebody waits and nobody is about to take it.
    shortage: Notify,
    capacity: usize,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Invocation>,
    /// Workers inside [`Queue::pop`].
    takers: usize,
    /// Workers that are starting and will pop soon.
    starting: usize,
}

/// The queue is full.
#[derive(Debug, thiserror::Error)]
#[error("the queue is full")]
pub(crate) struct Full;

/// Counts a worker as about to take something, until it is dropped.
#[derive(Debug)]
pub(crate) struct Promise {
    queue: Arc<Queue>,
    count: fn(&mut Inner) -> &mut usize,
}

// === impl Queue ===

impl Queue {
    /// A queue for `capacity` invokes with this function timeout.
    pub(crate) fn new(capacity: usize, timeout: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            available: Semaphore::new(0),
            shortage: Notify::new(),
            capacity,
            timeout,
        }
    }

    /// Adds an invoke, or hands it back by refusing.
    pub(crate) fn push(&self, invocation: Invocation) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.items.len() >= self.capacity {
            self.drop_expired(&mut inner);
        }
        if inner.items.len() >= self.capacity {
            return Err(Full);
        }
        inner.items.push_back(invocation);
        self.available.add_permits(1);
        if inner.is_short() {
            self.shortage.notify_one();
        }
        Ok(())
    }

    /// The oldest invoke that is still worth starting.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn pop(self: &Arc<Self>) -> Invocation {
        let _taker = self.promise(|inner| &mut inner.takers);
        loop {
            self.available.acquire().await.expect("the semaphore is never closed").forget();
            // No await from here to the return: what is taken out is handed over.
            let item = self.lock().items.pop_front();
            match item {
                Some(item) if item.expires > Instant::now() => return item,
                Some(late) => late.expire(self.timeout),
                None => {}
            }
        }
    }

    /// Counts one more worker as starting.
    pub(crate) fn starting(self: &Arc<Self>) -> Promise {
        self.promise(|inner| &mut inner.starting)
    }

    /// Waits until more invokes wait than workers are free or starting.
    pub(crate) async fn shortage(&self) {
        loop {
            if self.lock().is_short() {
                return;
            }
            self.shortage.notified().await;
        }
    }

    fn promise(self: &Arc<Self>, count: fn(&mut Inner) -> &mut usize) -> Promise {
        *count(&mut self.lock()) += 1;
        Promise { queue: Arc::clone(self), count }
    }

    /// Answers what expired at the front of the queue. All timeouts are equal, so the oldest expires first.
    fn drop_expired(&self, inner: &mut Inner) {
        let now = Instant::now();
        while inner.items.front().is_some_and(|item| item.expires <= now) {
            // The permit stays behind; a pop that finds nothing for it simply waits for the next one.
            if let Some(late) = inner.items.pop_front() {
                late.expire(self.timeout);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn is_short(&self) -> bool {
        self.items.len() > self.takers + self.starting
    }
}

// === impl Promise ===

impl Drop for Promise {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        *(self.count)(&mut inner) -= 1;
        if inner.is_short() {
            self.queue.shortage.notify_one();
        }
    }
}
