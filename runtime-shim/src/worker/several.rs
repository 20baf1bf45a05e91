//! What a process that takes several invokes at a time may call (RT-42): as many `next` as it likes wait, each invoke goes to one
//! of them, and ids alone say which answer belongs to which. The order of calls is nobody's business but that of one id.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tm_lambda::RequestId;
use tm_lambda::api_error::ApiError;
use tokio::sync::oneshot;

use crate::invocation::Delivery;
use crate::runtime_api::{NextReply, Offer, Upload, Uploaded};

/// The invokes of one process.
#[derive(Debug, Default)]
pub(super) struct Several {
    /// Those that it has, or is to get.
    current: Vec<Current>,
    /// Every `next` that waits for an event. Bounded by the connections of the listener.
    parked: VecDeque<NextReply>,
    /// Answers that are being sent.
    uploads: Vec<(RequestId, oneshot::Receiver<Uploaded>)>,
    /// Invokes that timed out; the process may still be at work on them.
    lost: VecDeque<RequestId>,
}

#[derive(Debug)]
struct Current {
    delivery: Delivery,
    /// Whether the caller takes a stream.
    streams: bool,
    /// Whether a `next` has it.
    delivered: bool,
    /// Whether its answer has begun.
    answering: bool,
}

/// What the worker must know of.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The result of an invoke begins to arrive; [`Answer::Uploaded`] follows at its end.
    Streaming(RequestId, Offer),
    /// An invoke has its answer.
    Uploaded(RequestId, Uploaded),
}

/// As many as AWS remembers.
const MAX_LOST: usize = 1000;

// === impl Several ===

impl Several {
    /// A further `next` waits.
    pub(super) fn park(&mut self, reply: NextReply) {
        self.parked.push_back(reply);
        self.deliver();
    }

    /// Whether somebody waits for an event.
    pub(super) fn is_free(&mut self) -> bool {
        self.parked.retain(|reply| !reply.is_closed());
        !self.parked.is_empty()
    }

    pub(super) fn assign(&mut self, delivery: Delivery, streams: bool) {
        self.current.push(Current { delivery, streams, delivered: false, answering: false });
        self.deliver();
    }

    /// Forgets an invoke, which is over.
    pub(super) fn release(&mut self, id: RequestId) {
        self.current.retain(|current| current.delivery.id != id);
    }

    /// Forgets an invoke whose time is over; a late answer is told so, once.
    pub(super) fn give_up(&mut self, id: RequestId) {
        self.release(id);
        // Whoever sends it sees that nobody waits for it any more.
        self.uploads.retain(|(uploading, _)| *uploading != id);
        if self.lost.len() == MAX_LOST {
            self.lost.pop_front();
        }
        self.lost.push_back(id);
    }

    /// How many invokes that timed out the process has not come back from.
    pub(super) fn lost(&self) -> usize {
        self.lost.len()
    }

    pub(super) fn is_uploading(&self) -> bool {
        !self.uploads.is_empty()
    }

    /// The right to answer for an id: it must be outstanding, and its first answer counts.
    pub(super) fn begin(&mut self, id: Option<RequestId>, offered: bool) -> Result<Upload, ApiError> {
        let id = id.ok_or(ApiError::InvalidRequestId)?;
        if let Some(at) = self.lost.iter().position(|lost| *lost == id) {
            self.lost.remove(at);
            return Err(ApiError::InvokeTimeout);
        }
        let mine = |current: &&mut Current| current.delivery.id == id && !current.answering;
        let current = self.current.iter_mut().find(mine).ok_or(ApiError::InvalidRequestId)?;
        current.answering = true;
        let (upload, uploaded_rx) = Upload::new(current.streams && offered);
        self.uploads.push((id, uploaded_rx));
        Ok(upload)
    }

    /// Waits for the end of an upload.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn uploaded(&mut self) -> (RequestId, Uploaded) {
        poll_fn(|cx| self.poll_uploaded(cx)).await
    }

    fn poll_uploaded(&mut self, cx: &mut Context<'_>) -> Poll<(RequestId, Uploaded)> {
        for at in 0..self.uploads.len() {
            if let Poll::Ready(uploaded) = Pin::new(&mut self.uploads[at].1).poll(cx) {
                let (id, _) = self.uploads.swap_remove(at);
                // A right that was dropped unused is an upload that broke off.
                return Poll::Ready((id, uploaded.unwrap_or(Uploaded::Truncated)));
            }
        }
        Poll::Pending
    }

    /// Hands invokes to those that wait. One that nobody reads waits for the next to come.
    fn deliver(&mut self) {
        while let Some(current) = self.current.iter_mut().find(|current| !current.delivered) {
            let Some(reply) = self.parked.pop_front() else { return };
            current.delivered = reply.send(Ok(current.delivery.clone())).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use jiff::Timestamp;
    use std::time::Duration;
    use tm_lambda::Deadline;

    use super::*;
    use crate::invocation::{self, Event};

    fn delivery() -> Delivery {
        let text = HeaderValue::from_static("application/json");
        Delivery {
            id: RequestId::mint(),
            deadline: Deadline::after(Timestamp::now(), Duration::from_secs(3)),
            event: Event { body: Bytes::new(), content_type: text.clone() },
            context: invocation::Context::of(text),
        }
    }

    #[test]
    fn lm_20_each_goes_to_somebody_who_still_waits() {
        let mut several = Several::default();
        let (first, first_rx) = oneshot::channel();
        let (second, mut second_rx) = oneshot::channel();
        several.park(first);
        several.park(second);
        drop(first_rx);
        assert!(several.is_free());
        let one = delivery();
        several.assign(one.clone(), false);
        assert_eq!(second_rx.try_recv().unwrap().unwrap().id, one.id);
        assert!(!several.is_free());
        let two = delivery();
        several.assign(two.clone(), false);
        let (third, mut third_rx) = oneshot::channel();
        several.park(third);
        assert_eq!(third_rx.try_recv().unwrap().unwrap().id, two.id, "it waited for one to come");
    }

    #[tokio::test]
    async fn answers_belong_to_ids() {
        let mut several = Several::default();
        let (one, two) = (delivery(), delivery());
        several.assign(one.clone(), false);
        several.assign(two.clone(), false);
        let first = several.begin(Some(two.id), false).unwrap();
        assert_eq!(several.begin(Some(two.id), false).unwrap_err(), ApiError::InvalidRequestId);
        assert_eq!(several.begin(None, false).unwrap_err(), ApiError::InvalidRequestId);
        let _second = several.begin(Some(one.id), false).unwrap();
        first.finish(Uploaded::Streamed(3));
        let (id, uploaded) = several.uploaded().await;
        assert!(id == two.id && matches!(uploaded, Uploaded::Streamed(3)));
        several.release(two.id);
        assert_eq!(several.begin(Some(two.id), false).unwrap_err(), ApiError::InvalidRequestId);
    }

    #[test]
    fn late_answers_are_told_so_once() {
        let mut several = Several::default();
        let one = delivery();
        several.assign(one.clone(), false);
        several.give_up(one.id);
        assert_eq!(several.lost(), 1);
        assert_eq!(several.begin(Some(one.id), false).unwrap_err(), ApiError::InvokeTimeout);
        assert_eq!(several.begin(Some(one.id), false).unwrap_err(), ApiError::InvalidRequestId);
        assert_eq!(several.lost(), 0);
    }
}
