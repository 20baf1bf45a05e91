//! Telemetry and logs for extensions that subscribed to them (sections 5.5 to 5.7).
//!
//! ```text
//! worker: records -> log lane -> Hub -> a mailbox for each subscriber -> its sender -> the extension's listener
//! processes: lines -^
//! ```
//!
//! Everything goes through the lane, so that records and lines come in the order of the log. There is one hub for each
//! worker. Subscriptions are kept by the extension's name, and mailboxes with what is in them, so that the last records of an
//! environment that failed reach the next one's extension (EX-12, EX-14). Senders belong to an environment.
//!
//! Nobody can subscribe when an init is over, so a hub without subscribers is switched off then: a flag is all that is
//! looked at. Until then it keeps what happened for those who are about to subscribe (EX-13).
//!
//! Bounds: a mailbox holds at most three batches of its subscriber's size (`maxBytes`, `maxItems`), one of them on its way; the
//! oldest records are dropped beyond that, and counted (`platform.logsDropped`). Kept for an init: [`EARLY_BYTES`].

mod mailbox;
mod sender;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tm_lambda::telemetry::{self, Category, Stamped, Subscription, SubscriptionError};
use tm_serve::Tasks;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use mailbox::Mailbox;

/// The subscribers of one worker. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether anything said is of interest.
    active: AtomicBool,
    /// Whether the log is in JSON, so that lines may be objects.
    objects: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    subscribers: Vec<Subscriber>,
    /// What the init at hand has said so far; `None` between inits.
    early: Option<Early>,
}

#[derive(Debug)]
struct Subscriber {
    name: String,
    mailbox: Arc<Mailbox>,
    /// Whether a sender is at work.
    served: bool,
}

/// What was said before anybody subscribed.
#[derive(Debug, Default)]
struct Early {
    items: VecDeque<Item>,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Item {
    Record(Stamped),
    Line(Timestamp, Category, Arc<str>),
}

/// What is kept of an init's output; records are few.
const EARLY_BYTES: usize = 256 * 1024;
const EARLY_ITEMS: usize = 10_000;

// === impl Hub ===

impl Hub {
    /// A hub without subscribers. With `objects` the log is in JSON.
    pub(crate) fn new(objects: bool) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { active: AtomicBool::new(false), objects, state }))
    }

    /// Whether anything said is of interest.
    pub(crate) fn is_active(&self) -> bool {
        self.0.active.load(Ordering::Relaxed)
    }

    /// An init begins: whoever subscribes in it hears of it from the start.
    pub(crate) fn begin_init(&self) {
        self.lock().early = Some(Early::default());
        self.0.active.store(true, Ordering::Relaxed);
    }

    /// An init is over, well or not.
    pub(crate) fn end_init(&self) {
        let mut state = self.lock();
        state.early = None;
        self.0.active.store(!state.subscribers.is_empty(), Ordering::Relaxed);
    }

    /// Passes records on.
    pub(crate) fn records(&self, records: Vec<Stamped>) {
        let mut state = self.lock();
        for record in records {
            state.publish(Item::Record(record), self.0.objects);
        }
    }

    /// Passes whole lines on, each as one record.
    pub(crate) fn lines(&self, category: Category, lines: &Bytes) {
        let now = Timestamp::now();
        let mut state = self.lock();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line).into();
            state.publish(Item::Line(now, category, text), self.0.objects);
        }
    }

    /// An extension subscribes; whether it had done so before. Its sender joins `tasks` and ends with `stop`.
    pub(crate) fn subscribe(
        &self,
        name: &str,
        subscription: Subscription,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Result<bool, SubscriptionError> {
        let mut state = self.lock();
        let known = state.subscribers.iter().find(|subscriber| subscriber.name == name);
        let again = known.is_some();
        match known {
            Some(known) => known.mailbox.change(subscription)?,
            None => state.add(name, subscription, self.0.objects),
        }
        state.serve(name, tasks, stop);
        Ok(again)
    }

    /// An extension registers: if it had subscribed in the environment before, it goes on.
    pub(crate) fn resume(&self, name: &str, tasks: &Tasks, stop: &CancellationToken) {
        self.lock().serve(name, tasks, stop);
    }

    /// The environment's senders have been stopped; what is left waits for the next one's.
    pub(crate) fn suspend(&self) {
        for subscriber in &mut self.lock().subscribers {
            subscriber.served = false;
            subscriber.mailbox.hurry(false);
        }
    }

    /// Sends everything that is there now, and all that follows without delay: the output streams close (EX-13). Waits until
    /// that has happened, or until `deadline`.
    pub(crate) async fn flush(&self, deadline: Instant) {
        let mailboxes: Vec<Arc<Mailbox>> = {
            let state = self.lock();
            let served = state.subscribers.iter().filter(|subscriber| subscriber.served);
            served.map(|subscriber| Arc::clone(&subscriber.mailbox)).collect()
        };
        for mailbox in &mailboxes {
            mailbox.hurry(true);
        }
        let all = async {
            for mailbox in &mailboxes {
                mailbox.emptied().await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, all).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn publish(&mut self, item: Item, objects: bool) {
        for subscriber in &self.subscribers {
            item.send(&subscriber.mailbox, objects);
        }
        if let Some(early) = &mut self.early {
            early.push(item);
        }
    }

    /// A new subscriber hears what was said before.
    fn add(&mut self, name: &str, subscription: Subscription, objects: bool) {
        let mailbox = Arc::new(Mailbox::new(subscription));
        for item in self.early.iter().flat_map(|early| &early.items) {
            item.send(&mailbox, objects);
        }
        self.subscribers.push(Subscriber { name: name.to_owned(), mailbox, served: false });
    }

    fn serve(&mut self, name: &str, tasks: &Tasks, stop: &CancellationToken) {
        let waiting = self.subscribers.iter_mut().filter(|subscriber| !subscriber.served);
        for subscriber in waiting.filter(|subscriber| subscriber.name == name) {
            subscriber.served = true;
            let sender = sender::run(Arc::clone(&subscriber.mailbox));
            tasks.spawn("telemetry", stop.clone().run_until_cancelled_owned(sender));
        }
    }
}

// === impl Early ===

impl Early {
    fn push(&mut self, item: Item) {
        self.bytes += item.size();
        self.items.push_back(item);
        while self.bytes > EARLY_BYTES || self.items.len() > EARLY_ITEMS {
            let Some(oldest) = self.items.pop_front() else { return };
            self.bytes -= oldest.size();
        }
    }
}

// === impl Item ===

impl Item {
    fn send(&self, mailbox: &Mailbox, objects: bool) {
        match self {
            Self::Record(record) => mailbox.push(Category::Platform, |schema| record.json(schema)),
            Self::Line(time, category, text) => {
                mailbox
                    .push(*category, |schema| Some(telemetry::line(*time, *category, text, schema, objects)));
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Record(_) => 0,
            Self::Line(_, _, text) => text.len(),
        }
    }
}

/// How long the end of an environment waits for subscribers to take what is there.
pub(crate) const FLUSH: Duration = Duration::from_millis(200);
