//! From the Runtime API's handlers to the loop of the worker they belong to, as typed calls.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use tm_lambda::api_error::ApiError;
use tm_lambda::extension::{ExtensionError, ExtensionState, Subscriptions};
use tm_lambda::telemetry::{Subscription, SubscriptionError};
use tm_lambda::{FunctionError, RequestId};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::config::Function;
use crate::invocation::{Delivery, Whole};

/// One worker, as handlers see it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Handlers → worker.
    call_tx: mpsc::Sender<Call>,
    /// Whose runtime it is.
    function: Arc<Function>,
}

/// Worker → a waiting `next`.
pub(crate) type NextReply = oneshot::Sender<Result<Delivery, ApiError>>;

/// Worker → a waiting extension.
pub(crate) type ExtensionReply = oneshot::Sender<Result<String, ExtensionError>>;

/// Worker → a subscribing extension.
pub(crate) type SubscribeReply = oneshot::Sender<Result<(), SubscribeError>>;

/// Why somebody cannot subscribe. The two kinds have forms of their own.
#[derive(Clone, Debug)]
pub(crate) enum SubscribeError {
    /// It is not who it says it is.
    Extension(ExtensionError),
    /// It asks for what it cannot have.
    Subscription(SubscriptionError),
}

/// A call whose order matters; the worker answers each.
#[derive(Debug)]
pub(crate) enum Call {
    /// Give me an event.
    Next(NextReply),
    /// I start to send the answer for this id.
    Begin {
        /// The id in the path.
        id: Option<RequestId>,
        /// Which answer.
        kind: CallKind,
        /// The result as a stream, for a caller who takes one.
        offer: Option<Offer>,
        /// Whether it may be sent.
        reply: oneshot::Sender<Result<Upload, ApiError>>,
    },
    /// An extension registers.
    Register {
        /// Its name.
        name: String,
        /// What it wants to be told of.
        wanted: Subscriptions,
        /// Its identifier.
        reply: oneshot::Sender<Result<Uuid, ExtensionError>>,
    },
    /// An extension waits for an event.
    ExtensionNext {
        /// Who.
        id: Uuid,
        /// The event's JSON.
        reply: ExtensionReply,
    },
    /// An extension gives up, and says why.
    ExtensionFailed {
        /// Who.
        id: Uuid,
        /// When: [`ExtensionState::InitError`] or [`ExtensionState::ExitError`].
        state: ExtensionState,
        /// Why, in its own words.
        error_type: String,
        /// Whether it is known.
        reply: oneshot::Sender<Result<(), ExtensionError>>,
    },
    /// An extension subscribes to telemetry or logs.
    Subscribe {
        /// Who.
        id: Uuid,
        /// To what.
        subscription: Subscription,
        /// Whether it may.
        reply: SubscribeReply,
    },
    /// The init failed.
    InitError {
        /// Whether it may be told now.
        reply: oneshot::Sender<Result<Upload, ApiError>>,
    },
}

/// The two answers to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// `…/response`.
    Response,
    /// `…/error`.
    Error,
}

/// A result that can be passed on while it arrives.
#[derive(Debug)]
pub(crate) struct Offer {
    /// `Content-Type`.
    pub(crate) content_type: Option<HeaderValue>,
    /// Handler → caller.
    pub(crate) data_rx: mpsc::Receiver<Bytes>,
}

/// The right to send one answer. Dropping it unsent means that the upload broke off.
#[derive(Debug)]
pub(crate) struct Upload {
    uploaded_tx: oneshot::Sender<Uploaded>,
    /// Whether the offer was taken: the caller gets the bytes as they come.
    pub(crate) streams: bool,
}

/// An answer that has arrived.
#[derive(Debug)]
pub(crate) enum Uploaded {
    /// The result, and the failure that its trailers may report (ST-15).
    Result(Whole, Option<Box<FunctionError>>),
    /// The result was passed on to its end; its size.
    Streamed(u64),
    /// The function's error.
    Error(FunctionError),
    /// Over this limit.
    TooLarge(usize),
    /// The connection broke.
    Truncated,
    /// Sent in a mode that does not exist.
    InvalidMode,
}

/// Calls that may wait for the worker: one runtime makes one at a time, a little more is confusion on its side.
const CALLS: usize = 16;

// === impl Link ===

impl Link {
    /// A link and the worker's end of it.
    pub(crate) fn new(function: Arc<Function>) -> (Self, mpsc::Receiver<Call>) {
        let (call_tx, call_rx) = mpsc::channel(CALLS);
        (Self { call_tx, function }, call_rx)
    }

    /// Who the function is.
    pub(crate) fn function(&self) -> &Function {
        &self.function
    }

    /// Waits for an event, for as long as it takes (RT-03).
    pub(crate) async fn next(&self) -> Result<Delivery, ApiError> {
        self.ask(Call::Next).await
    }

    /// Asks to send an answer.
    pub(crate) async fn begin(
        &self,
        id: Option<RequestId>,
        kind: CallKind,
        offer: Option<Offer>,
    ) -> Result<Upload, ApiError> {
        self.ask(|reply| Call::Begin { id, kind, offer, reply }).await
    }

    /// Asks to report that the init failed.
    pub(crate) async fn begin_init_error(&self) -> Result<Upload, ApiError> {
        self.ask(|reply| Call::InitError { reply }).await
    }

    /// Registers an extension.
    pub(crate) async fn register(&self, name: String, wanted: Subscriptions) -> Result<Uuid, ExtensionError> {
        self.ask_for_extension(|reply| Call::Register { name, wanted, reply }).await
    }

    /// Waits for an extension's next event, for as long as it takes (EX-05).
    pub(crate) async fn extension_next(&self, id: Uuid) -> Result<String, ExtensionError> {
        self.ask_for_extension(|reply| Call::ExtensionNext { id, reply }).await
    }

    /// An extension gives up.
    pub(crate) async fn extension_failed(
        &self,
        id: Uuid,
        state: ExtensionState,
        error_type: String,
    ) -> Result<(), ExtensionError> {
        self.ask_for_extension(|reply| Call::ExtensionFailed { id, state, error_type, reply }).await
    }

    /// An extension subscribes.
    pub(crate) async fn subscribe(&self, id: Uuid, subscription: Subscription) -> Result<(), SubscribeError> {
        let gone = || SubscribeError::Subscription(SubscriptionError::Internal);
        let (reply, reply_rx) = oneshot::channel();
        self.call_tx.send(Call::Subscribe { id, subscription, reply }).await.map_err(|_| gone())?;
        reply_rx.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn ask_for_extension<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, ExtensionError>>) -> Call,
    ) -> Result<T, ExtensionError> {
        let (reply_tx, reply_rx) = oneshot::channel();
        self.call_tx.send(call(reply_tx)).await.map_err(|_| ExtensionError::Internal)?;
        reply_rx.await.unwrap_or(Err(ExtensionError::Internal))
    }

    /// Calls the worker. One that has gone takes its process with it, so the caller will hardly read the 500.
    async fn ask<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, ApiError>>) -> Call,
    ) -> Result<T, ApiError> {
        let (reply_tx, reply_rx) = oneshot::channel();
        self.call_tx.send(call(reply_tx)).await.map_err(|_| ApiError::Internal)?;
        reply_rx.await.unwrap_or(Err(ApiError::Internal))
    }
}

// === impl Uploaded ===

impl Uploaded {
    /// The bytes of an answer.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Result(whole, _) => whole.bytes.len() as u64,
            Self::Streamed(size) => *size,
            Self::Error(error) => error.payload().len() as u64,
            Self::TooLarge(_) | Self::Truncated | Self::InvalidMode => 0,
        }
    }
}

// === impl Upload ===

impl Upload {
    /// A right, and what the worker waits on.
    pub(crate) fn new(streams: bool) -> (Self, oneshot::Receiver<Uploaded>) {
        let (uploaded_tx, uploaded_rx) = oneshot::channel();
        (Self { uploaded_tx, streams }, uploaded_rx)
    }

    /// Waits until nobody wants the answer any more.
    pub(crate) async fn abandoned(&mut self) {
        self.uploaded_tx.closed().await;
    }

    /// Hands the answer over. A worker that no longer wants it has timed the invoke out.
    pub(crate) fn finish(self, uploaded: Uploaded) {
        let _ = self.uploaded_tx.send(uploaded);
    }
}
