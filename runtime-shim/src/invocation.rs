//! One invoke on its way: what the runtime gets, by when, and who waits for the outcome.
//!
//! A [`Responder`] goes with the invoke to the worker, which answers through it once. The front waits on the other end for an
//! [`Answer`]. A caller who can take a stream may get one as its answer: then the bytes follow in a channel, and a second
//! [`Answer`] says how it ended.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use tm_lambda::{Deadline, FunctionError, RequestId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// One invoke, from the front to the worker.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// What the runtime gets.
    pub(crate) delivery: Delivery,
    /// When it is too late, on the clock that waits use.
    pub(crate) expires: Instant,
    /// Who is told.
    pub(crate) responder: Responder,
    /// Nobody waits for it: its time counts from when it is started, not from its arrival.
    pub(crate) asynchronous: bool,
}

/// What `next` answers. Cheap to clone: a broken delivery is repeated (RT-24).
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The invoke's id.
    pub(crate) id: RequestId,
    /// The same deadline as the invocation's, on the clock that is said aloud.
    pub(crate) deadline: Deadline,
    /// The event, exactly as it is to arrive.
    pub(crate) event: Event,
    /// What else the runtime is told.
    pub(crate) context: Context,
}

/// An event and its media type.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The bytes.
    pub(crate) body: Bytes,
    /// `Content-Type` on `next`.
    pub(crate) content_type: HeaderValue,
}

/// Headers of `next` beyond id and deadline. A codec fills what its callers can say.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The ARN as invoked.
    pub(crate) arn: HeaderValue,
    /// The trace, where there is one.
    pub(crate) trace: Option<HeaderValue>,
    /// What few invokes have; apart, as a context is moved a few times on its way.
    pub(crate) more: Option<Box<More>>,
}

/// Headers of `next` that few invokes have.
#[derive(Clone, Debug, Default)]
pub(crate) struct More {
    /// The client context: JSON in visible ASCII (RT-20).
    pub(crate) client: Option<HeaderValue>,
    /// The tenant (RT-22).
    pub(crate) tenant: Option<HeaderValue>,
    /// The attributes of a CloudEvent, as JSON in visible ASCII (CE-11).
    pub(crate) cloud_event: Option<HeaderValue>,
}

/// How an invoke ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The function answered.
    Success(ResultBody),
    /// The function failed, or its process did.
    Failed(FunctionError),
    /// The function did not end in time.
    TimedOut(FunctionError),
    /// The deadline passed before a worker was free.
    Expired(FunctionError),
    /// The shim stops, and the function has not run.
    Stopping,
    /// The shim stops in the middle of it.
    Stopped(FunctionError),
}

/// The result's bytes.
#[derive(Debug)]
pub(crate) enum ResultBody {
    /// All of it.
    Whole(Whole),
    /// More is to come.
    Stream(ResponseStream),
}

/// A result that is there in full.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// What the runtime sent them as, when it sent a stream, whether or not the caller takes one.
    pub(crate) stream: Option<Box<StreamForm>>,
}

/// How a runtime sends a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamForm {
    /// `Content-Type`.
    pub(crate) content_type: Option<HeaderValue>,
}

/// A result that is being sent.
#[derive(Debug)]
pub(crate) struct ResponseStream {
    /// `Content-Type`.
    pub(crate) content_type: Option<HeaderValue>,
    /// The bytes as they come. Bounded, so that a slow caller slows the runtime down (ST-07).
    pub(crate) data_rx: mpsc::Receiver<Bytes>,
    /// How it ended; comes after the last of the bytes.
    pub(crate) end_rx: oneshot::Receiver<Answer>,
}

/// What a caller is told.
#[derive(Debug)]
pub(crate) struct Answer {
    /// How the invoke went.
    pub(crate) outcome: Outcome,
    /// The end of its log, for those who asked.
    pub(crate) log: Option<String>,
}

/// What a caller can take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    /// The result while it is being made.
    pub(crate) stream: bool,
    /// The end of the log; the answer then waits for the end of the phase (LG-11).
    pub(crate) log: bool,
}

/// Answers one caller. Dropping it without an answer tells the caller that the shim failed.
#[derive(Debug)]
pub(crate) struct Responder {
    /// Worker → caller.
    pub(crate) answer_tx: oneshot::Sender<Answer>,
    /// What the caller can take.
    pub(crate) wishes: Wishes,
}

// === impl Responder ===

impl Responder {
    /// A responder and what the caller waits on.
    pub(crate) fn new(wishes: Wishes) -> (Self, oneshot::Receiver<Answer>) {
        let (answer_tx, answer_rx) = oneshot::channel();
        (Self { answer_tx, wishes }, answer_rx)
    }

    /// Answers. A caller that has left does not mind.
    pub(crate) fn answer(self, outcome: Outcome) {
        let _ = self.answer_tx.send(Answer { outcome, log: None });
    }
}

// === impl Context ===

impl Context {
    /// The context of an invoke about which nothing else is known.
    pub(crate) fn of(arn: HeaderValue) -> Self {
        Self { arn, trace: None, more: None }
    }
}

// === impl Invocation ===

impl Invocation {
    /// The invoke's id.
    pub(crate) fn id(&self) -> RequestId {
        self.delivery.id
    }

    /// A worker takes it. The time of an asynchronous one begins now.
    pub(crate) fn start(mut self, timeout: Duration) -> Self {
        if self.asynchronous {
            self.expires = Instant::now() + timeout;
            self.delivery.deadline = Deadline::after(Timestamp::now(), timeout);
        }
        self
    }

    /// Answers an invoke whose time ran out before it started.
    pub(crate) fn expire(self, timeout: Duration) {
        let error = FunctionError::timed_out(self.id(), timeout);
        self.responder.answer(Outcome::Expired(error));
    }
}
