//! What one subscriber is still to get: bounded, in batches, the oldest dropped first.
//!
//! A batch that is on its way stays here until it has arrived, so that a sender may be stopped at any time: the next one
//! begins with it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tm_lambda::telemetry::{Category, Destination, Record, Schema, Stamped, Subscription, SubscriptionError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The mailbox of one subscriber.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// A sender has something new to look at.
    filled: Notify,
    /// Nothing is left.
    emptied: Notify,
}

#[derive(Debug)]
struct State {
    subscription: Subscription,
    pending: VecDeque<Bytes>,
    /// Of all that is pending.
    bytes: usize,
    /// When the first of the pending ones came.
    since: Option<Instant>,
    /// On their way.
    sending: Vec<Bytes>,
    dropped: Dropped,
    /// Batches are not waited for.
    hurry: bool,
}

/// What was lost since it was last told.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    records: u64,
    bytes: u64,
}

/// A batch, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Bytes>,
    pub(super) destination: Destination,
}

/// Batches that may wait behind the one on its way.
const WAITING: usize = 2;

/// AWS's words.
const REASON: &str =
    "Some logs were dropped because the downstream consumer is slower than the logs production rate";

// === impl Mailbox ===

impl Mailbox {
    pub(super) fn new(subscription: Subscription) -> Self {
        let state = State {
            subscription,
            pending: VecDeque::new(),
            bytes: 0,
            since: None,
            sending: Vec::new(),
            dropped: Dropped::default(),
            hurry: false,
        };
        Self { state: Mutex::new(state), filled: Notify::new(), emptied: Notify::new() }
    }

    /// The subscriber asks again, perhaps for something else; not through the other API (EX-12).
    pub(super) fn change(&self, subscription: Subscription) -> Result<(), SubscriptionError> {
        let mut state = self.lock();
        let before = state.subscription.api;
        if before != subscription.api {
            let text = format!("already subscribed to the {} API", before.word());
            return Err(SubscriptionError::Validation(text));
        }
        state.subscription = subscription;
        Ok(())
    }

    /// Adds a record, if the subscriber wants it and its schema has it.
    pub(super) fn push(&self, category: Category, record: impl FnOnce(Schema) -> Option<String>) {
        let mut state = self.lock();
        if !state.subscription.wants(category) {
            return;
        }
        let Some(record) = record(state.subscription.schema) else { return };
        if state.push(record.into()) {
            self.filled.notify_one();
        }
    }

    /// With `yes` batches go out at once.
    pub(super) fn hurry(&self, yes: bool) {
        self.lock().hurry = yes;
        self.filled.notify_one();
    }

    /// Waits for a batch that is due.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn batch(&self) -> Batch {
        loop {
            let filled = self.filled.notified();
            let due = {
                let mut state = self.lock();
                if state.is_due(Instant::now()) {
                    return state.take();
                }
                state.since.map(|since| since + state.subscription.buffering.timeout)
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, filled).await;
                }
                None => filled.await,
            }
        }
    }

    /// The batch has arrived.
    pub(super) fn arrived(&self) {
        self.done(Dropped::default());
    }

    /// The batch is given up.
    pub(super) fn give_up(&self) {
        let lost = Dropped::of(&self.lock().sending);
        self.done(lost);
    }

    fn done(&self, lost: Dropped) {
        let mut state = self.lock();
        state.sending.clear();
        state.dropped.add(lost);
        if state.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Waits until nothing is left.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Adds a record, and makes room; whether a sender should look.
    fn push(&mut self, record: Bytes) -> bool {
        self.bytes += record.len();
        self.pending.push_back(record);
        let first = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        let buffering = self.subscription.buffering;
        let (bytes, items) = (WAITING * buffering.max_bytes, WAITING * buffering.max_items);
        // One that is larger than all of the room is still worth sending.
        while self.pending.len() > 1 && (self.bytes > bytes || self.pending.len() > items) {
            let Some(oldest) = self.pending.pop_front() else { break };
            self.bytes -= oldest.len();
            self.dropped.add(Dropped::of(std::slice::from_ref(&oldest)));
        }
        first || self.is_full() || self.hurry
    }

    fn is_full(&self) -> bool {
        let buffering = self.subscription.buffering;
        self.pending.len() >= buffering.max_items || self.bytes >= buffering.max_bytes
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.sending.is_empty()
    }

    fn is_due(&self, now: Instant) -> bool {
        let timeout = self.subscription.buffering.timeout;
        let waited = self.since.is_some_and(|since| now >= since + timeout);
        let something = !self.pending.is_empty();
        !self.sending.is_empty() || (something && (waited || self.hurry || self.is_full()))
    }

    /// The batch that is on its way, else the next one: as much as fits, and at least one record.
    fn take(&mut self) -> Batch {
        if self.sending.is_empty() {
            self.fill();
        }
        Batch { records: self.sending.clone(), destination: self.subscription.destination.clone() }
    }

    fn fill(&mut self) {
        let buffering = self.subscription.buffering;
        let told = self.told();
        let mut size = told.as_ref().map_or(0, Bytes::len);
        self.sending.extend(told);
        while let Some(record) = self.pending.front() {
            let fits = self.sending.len() < buffering.max_items && size + record.len() <= buffering.max_bytes;
            if !fits && !self.sending.is_empty() {
                break;
            }
            size += record.len();
            self.bytes -= record.len();
            self.sending.extend(self.pending.pop_front());
        }
        self.since = (!self.pending.is_empty()).then(Instant::now);
    }

    /// The record that tells of lost ones, for those who want to know.
    fn told(&mut self) -> Option<Bytes> {
        let Dropped { records, bytes } = std::mem::take(&mut self.dropped);
        if records == 0 {
            return None;
        }
        tracing::warn!(records, bytes, "telemetry was dropped: a subscriber does not take it");
        let wanted = self.subscription.wants(Category::Platform);
        let record = Stamped::now(Record::LogsDropped { records, bytes, reason: REASON });
        record.json(self.subscription.schema).filter(|_| wanted).map(Bytes::from)
    }
}

// === impl Dropped ===

impl Dropped {
    fn of(records: &[Bytes]) -> Self {
        let bytes: usize = records.iter().map(Bytes::len).sum();
        Self { records: records.len() as u64, bytes: bytes as u64 }
    }

    fn add(&mut self, more: Self) {
        self.records += more.records;
        self.bytes += more.bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tm_lambda::telemetry::Api;

    use super::*;

    fn mailbox() -> Mailbox {
        let body = r#"{"schemaVersion":"2022-12-13","types":["function","platform"],
            "buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":25},"destination":{"protocol":"TCP","port":1}}"#;
        Mailbox::new(Subscription::parse(Api::Telemetry, body.as_bytes()).unwrap())
    }

    fn fill(mailbox: &Mailbox, count: usize, size: usize) {
        for number in 0..count {
            let text = format!("{number:05}");
            mailbox.push(Category::Function, |_| Some(text.repeat(size / 5)));
        }
    }

    async fn take(mailbox: &Mailbox) -> Vec<Bytes> {
        let batch = mailbox.batch().await;
        mailbox.arrived();
        batch.records
    }

    #[tokio::test(start_paused = true)]
    async fn ex_13_batches_go_by_count_size_and_time() {
        let mailbox = mailbox();
        fill(&mailbox, 1001, 10);
        let now = Instant::now();
        assert_eq!(take(&mailbox).await.len(), 1000, "by count");
        assert_eq!(now.elapsed(), Duration::ZERO);
        assert_eq!(take(&mailbox).await.len(), 1, "by time");
        assert_eq!(now.elapsed(), Duration::from_millis(25));
        fill(&mailbox, 3, 100_000);
        assert_eq!(take(&mailbox).await.len(), 2, "by size");
        mailbox.hurry(true);
        let now = Instant::now();
        assert_eq!(take(&mailbox).await.len(), 1, "in a hurry");
        assert_eq!(now.elapsed(), Duration::ZERO);
        fill(&mailbox, 1, 1_000_000);
        assert_eq!(take(&mailbox).await.len(), 1, "larger than any batch");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_are_dropped_and_that_is_told() {
        let mailbox = mailbox();
        fill(&mailbox, 5, 250_000);
        let first = take(&mailbox).await;
        let told: serde_json::Value = serde_json::from_slice(&first[0]).unwrap();
        assert_eq!(told["type"], "platform.logsDropped");
        assert_eq!(
            (&told["record"]["droppedRecords"], &told["record"]["droppedBytes"]),
            (&3.into(), &750_000.into())
        );
        fill(&mailbox, 2500, 5);
        assert!(mailbox.lock().pending.len() <= 2000 && mailbox.lock().bytes <= 524_288);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_stays_until_it_has_arrived() {
        let mailbox = mailbox();
        fill(&mailbox, 1000, 5);
        let first = mailbox.batch().await.records;
        fill(&mailbox, 1000, 10);
        assert_eq!(
            mailbox.batch().await.records,
            first,
            "the sender was stopped; the next one begins with it"
        );
        mailbox.give_up();
        let next = take(&mailbox).await;
        let told: serde_json::Value = serde_json::from_slice(&next[0]).unwrap();
        assert_eq!(told["record"]["droppedRecords"], 1000);
        assert_eq!(next[1], "0000000000");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_wanted() {
        let mailbox = mailbox();
        mailbox.push(Category::Extension, |_| unreachable!("nobody wants it"));
        mailbox.push(Category::Platform, |_| None);
        mailbox.emptied().await;
    }
}
