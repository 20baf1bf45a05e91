//! One invoke on its way: what the runtime gets, by when, and who waits for the outcome.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tm_lambda::{Deadline, FunctionError, RequestId};
use tokio::sync::oneshot;
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
    /// The shim stops and could not finish it.
    Stopping,
}

/// The result's bytes. Buffered callers get them whole; a streaming front adds its own variant.
#[derive(Debug)]
pub(crate) enum ResultBody {
    /// All of it.
    Whole(Bytes),
}

/// Answers one caller once. Dropping it without an answer tells the caller that the shim failed.
#[derive(Debug)]
pub(crate) struct Responder(oneshot::Sender<Outcome>);

// === impl Responder ===

impl Responder {
    /// A responder and what the caller waits on.
    pub(crate) fn new() -> (Self, oneshot::Receiver<Outcome>) {
        let (outcome_tx, outcome_rx) = oneshot::channel();
        (Self(outcome_tx), outcome_rx)
    }

    /// Answers. A caller that has left does not mind.
    pub(crate) fn answer(self, outcome: Outcome) {
        let _ = self.0.send(outcome);
    }
}

// === impl Invocation ===

impl Invocation {
    /// The invoke's id.
    pub(crate) fn id(&self) -> RequestId {
        self.delivery.id
    }

    /// Answers an invoke whose time ran out before it started.
    pub(crate) fn expire(self, timeout: Duration) {
        let error = FunctionError::timed_out(self.id(), timeout);
        self.responder.answer(Outcome::Expired(error));
    }
}
