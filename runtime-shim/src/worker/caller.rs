//! The caller of one invoke, as the worker sees it: answered once, at once, or at the end of the phase when the log was asked
//! for too (RT-29, LG-11).

use std::sync::Arc;

use tm_lambda::{FunctionError, RequestId};
use tokio::sync::oneshot;

use crate::invocation::{Answer, Outcome, Responder, ResponseStream, ResultBody, Whole, Wishes};
use crate::metrics::Metrics;
use crate::runtime_api::{Offer, Uploaded};

/// Who waits for the invoke.
#[derive(Debug)]
pub(super) struct Caller {
    /// Where the next answer goes; `None` once everything is said.
    answer_tx: Option<oneshot::Sender<Answer>>,
    /// What will be said at the end of the phase.
    held: Option<Outcome>,
    wishes: Wishes,
    /// AWS was seen to hide failures that trailers report (12.3).
    strict: bool,
    metrics: Arc<Metrics>,
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(responder: Responder, strict: bool, metrics: Arc<Metrics>) -> Self {
        let Responder { answer_tx, wishes } = responder;
        Self { answer_tx: Some(answer_tx), held: None, wishes, strict, metrics }
    }

    /// Whether it takes the result while it is being made.
    pub(super) fn takes_streams(&self) -> bool {
        self.wishes.stream
    }

    /// Whether it wants the end of the log.
    pub(super) fn wants_log(&self) -> bool {
        self.wishes.log
    }

    /// Gives it the beginning of a stream. How that ends is its next answer.
    pub(super) fn stream(&mut self, offer: Offer) {
        let Some(answer_tx) = self.answer_tx.take() else { return };
        let (end_tx, end_rx) = oneshot::channel();
        let Offer { content_type, data_rx } = offer;
        let stream = ResponseStream { content_type, data_rx, end_rx };
        let outcome = Outcome::Success(ResultBody::Stream(stream));
        let _ = answer_tx.send(Answer { outcome, log: None });
        self.answer_tx = Some(end_tx);
    }

    /// Gives it what the runtime sent.
    pub(super) fn uploaded(&mut self, id: RequestId, uploaded: Uploaded) {
        self.settle(match uploaded {
            Uploaded::Result(_, Some(error)) if !self.strict => Outcome::Failed(*error),
            Uploaded::Result(whole, _) => Outcome::Success(ResultBody::Whole(whole)),
            Uploaded::Streamed(_) => Outcome::Success(ResultBody::Whole(Whole::default())),
            Uploaded::Error(error) => Outcome::Failed(error),
            Uploaded::TooLarge(limit) => Outcome::Failed(FunctionError::response_too_large(limit)),
            Uploaded::Truncated => Outcome::Failed(FunctionError::truncated(id)),
            Uploaded::InvalidMode => Outcome::Failed(FunctionError::invalid_response_mode(id)),
        });
    }

    /// The invoke has an outcome; the first one counts.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        if self.held.is_some() || self.answer_tx.is_none() {
            return;
        }
        self.metrics.outcome(&outcome);
        if self.wishes.log {
            self.held = Some(outcome);
        } else if let Some(answer_tx) = self.answer_tx.take() {
            // A caller that has left does not mind.
            let _ = answer_tx.send(Answer { outcome, log: None });
        }
    }

    /// The phase is over.
    pub(super) fn finish(self, log: Option<String>) {
        if let (Some(answer_tx), Some(outcome)) = (self.answer_tx, self.held) {
            let _ = answer_tx.send(Answer { outcome, log });
        }
    }
}
