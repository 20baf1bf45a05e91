//! The bounded queue between the front and the workers. The front pushes, workers pop, the pool watches for shortage.
//!
//! Full means 429 at once. What expires while it waits is answered when it is found: at a pop, or at a push that needs
//! the room. A closed queue hands out what it holds and takes nothing more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tm_lambda::RequestId;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::invocation::{Invocation, Outcome};
use crate::metrics::Metrics;

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
    metrics: Arc<Metrics>,
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

/// A caller is answered a little before its worker is free again (RT-29). Without this pause a caller who sends one
/// request after the other would start a second worker for nothing; next to a cold start it is short.
const MOMENT: Duration = Duration::from_millis(5);

// === impl Queue ===

impl Queue {
    /// A queue for `capacity` invokes with this function timeout.
    pub(crate) fn new(capacity: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            inner: Mutex::default(),
            available: Semaphore::new(0),
            shortage: Notify::new(),
            capacity,
            timeout,
            metrics,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Adds an invoke, or hands it back by refusing.
    pub(crate) fn push(&self, invocation: Invocation) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.items.len() >= self.capacity {
            self.drop_expired(&mut inner);
        }
        if inner.items.len() >= self.capacity {
            self.metrics.throttled();
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
                Some(item) if item.expires > Instant::now() => return item.start(self.timeout),
                Some(late) => self.expire(late),
                None => {}
            }
        }
    }

    /// Takes back an invoke whose time is over. Whether it was still there; else a worker has it.
    pub(crate) fn withdraw(&self, id: RequestId) -> bool {
        let mut inner = self.lock();
        let at = inner.items.iter().position(|item| item.id() == id);
        let withdrawn = at.and_then(|at| inner.items.remove(at)).is_some();
        if withdrawn {
            self.metrics.expired();
        }
        withdrawn
    }

    /// Gives up what is left, when no worker will come for it any more. How many nobody waits for, and so nobody hears of.
    pub(crate) fn abandon(&self) -> usize {
        let left = std::mem::take(&mut self.lock().items);
        let unheard = left.iter().filter(|item| item.asynchronous).count();
        left.into_iter().for_each(|item| item.responder.answer(Outcome::Stopping));
        unheard
    }

    /// Counts one more worker as starting.
    pub(crate) fn starting(self: &Arc<Self>) -> Promise {
        self.promise(|inner| &mut inner.starting)
    }

    /// Waits until more invokes wait than workers are free or starting, and that for longer than a moment.
    pub(crate) async fn shortage(&self) {
        loop {
            if self.lock().is_short() {
                tokio::time::sleep(MOMENT).await;
                if self.lock().is_short() {
                    return;
                }
            }
            self.shortage.notified().await;
        }
    }

    fn promise(self: &Arc<Self>, count: fn(&mut Inner) -> &mut usize) -> Promise {
        *count(&mut self.lock()) += 1;
        Promise { queue: Arc::clone(self), count }
    }

    /// Answers what expired. Their permits stay behind; a pop that finds nothing for one simply waits for the next.
    fn drop_expired(&self, inner: &mut Inner) {
        let now = Instant::now();
        let (late, waiting) =
            std::mem::take(&mut inner.items).into_iter().partition(|item| item.expires <= now);
        inner.items = waiting;
        let late: VecDeque<Invocation> = late;
        late.into_iter().for_each(|item| self.expire(item));
    }

    fn expire(&self, late: Invocation) {
        self.metrics.expired();
        late.expire(self.timeout);
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use jiff::Timestamp;
    use tm_lambda::Deadline;

    use super::*;
    use crate::invocation::{Answer, Context, Delivery, Event, Responder, Wishes};

    const TIMEOUT: Duration = Duration::from_secs(3);

    fn queue(capacity: usize) -> Arc<Queue> {
        Arc::new(Queue::new(capacity, TIMEOUT, Arc::new(Metrics::new())))
    }

    fn invocation(expires: Instant) -> (Invocation, tokio::sync::oneshot::Receiver<Answer>) {
        let (responder, answer) = Responder::new(Wishes::default());
        let json = HeaderValue::from_static("application/json");
        let delivery = Delivery {
            id: RequestId::mint(),
            deadline: Deadline::after(Timestamp::now(), TIMEOUT),
            event: Event { body: Bytes::new(), content_type: json.clone() },
            context: Context::of(json),
        };
        (Invocation { delivery, expires, responder, asynchronous: false }, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn what_expired_is_answered_at_the_pop_and_at_a_push_that_needs_the_room() {
        let queue = queue(1);
        let (first, first_outcome) = invocation(Instant::now() + TIMEOUT);
        queue.push(first).unwrap();
        let (refused, _) = invocation(Instant::now() + TIMEOUT);
        queue.push(refused).unwrap_err();
        tokio::time::advance(TIMEOUT).await;
        let (second, second_outcome) = invocation(Instant::now() + TIMEOUT);
        let id = second.id();
        queue.push(second).unwrap();
        assert!(matches!(first_outcome.await, Ok(Answer { outcome: Outcome::Expired(_), .. })));
        assert_eq!(queue.pop().await.id(), id);
        drop(second_outcome);

        let (late, late_outcome) = invocation(Instant::now() + TIMEOUT);
        queue.push(late).unwrap();
        tokio::time::advance(TIMEOUT).await;
        let popped = tokio::time::timeout(TIMEOUT, queue.pop()).await;
        assert!(popped.is_err(), "an expired invoke was handed out");
        assert!(matches!(late_outcome.await, Ok(Answer { outcome: Outcome::Expired(_), .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn lm_22_asynchronous_ones_wait_longer_than_they_may_run() {
        let queue = queue(2);
        let (mut event, _) = invocation(Instant::now() + TIMEOUT * 100);
        event.asynchronous = true;
        let arrived = event.delivery.deadline;
        queue.push(event).unwrap();
        let (expires_behind_it, answer) = invocation(Instant::now() + TIMEOUT);
        queue.push(expires_behind_it).unwrap();
        tokio::time::advance(TIMEOUT * 50).await;
        queue.push(invocation(Instant::now() + TIMEOUT).0).unwrap();
        assert!(matches!(answer.await, Ok(Answer { outcome: Outcome::Expired(_), .. })), "room was made");
        let started = queue.pop().await;
        assert!(started.asynchronous && started.expires == Instant::now() + TIMEOUT);
        assert!(started.delivery.deadline.unix_millis() >= arrived.unix_millis());
        assert_eq!(queue.abandon(), 0, "the other one has a caller");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_more_than_a_moment_and_more_than_is_promised() {
        let queue = queue(9);
        let short = || tokio::time::timeout(TIMEOUT, queue.shortage());
        let starting = queue.starting();
        queue.push(invocation(Instant::now() + TIMEOUT).0).unwrap();
        assert!(short().await.is_err(), "somebody is starting");
        queue.push(invocation(Instant::now() + TIMEOUT * 2).0).unwrap();
        assert!(short().await.is_ok());
        drop(queue.pop().await);
        assert!(short().await.is_err());
        drop(starting);
    }
}
