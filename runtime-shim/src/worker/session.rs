//! What one runtime process is allowed to call, and what it was given. Lives in the worker's loop; knows no process.

use std::sync::Arc;

use tm_lambda::api_error::ApiError;
use tm_lambda::extension::{ExtensionError, ExtensionState, ExtensionStatus, ShutdownReason};
use tm_lambda::telemetry::{Subscription, SubscriptionError};
use tm_lambda::{Deadline, FunctionError, RequestId, RuntimeCall, RuntimeState, error_type};
use tokio::sync::{mpsc, oneshot};

use super::ending::ExtensionFailure;
use super::extensions::Extensions;
use super::several::{Answer, Several};
use super::timing::Timing;
use crate::config::Function;
use crate::invocation::Delivery;
use crate::runtime_api::{
    Call, CallKind, Link, NextReply, Offer, SubscribeError, SubscribeReply, Upload, Uploaded,
};

/// The protocol state of one process.
#[derive(Debug)]
pub(crate) struct Session {
    /// Handlers → worker.
    call_rx: mpsc::Receiver<Call>,
    state: RuntimeState,
    /// A `next` that waits for an event.
    parked: Option<NextReply>,
    /// An answer that is being sent.
    upload: Option<oneshot::Receiver<Uploaded>>,
    /// Why the init failed, which is being sent.
    failure: Option<oneshot::Receiver<Uploaded>>,
    current: Option<Current>,
    extensions: Extensions,
    /// The runtime waits for an event, and its extensions are still at work.
    waiting: bool,
    /// What is waited for of external extensions.
    gathering: Gathering,
    /// Whether the init is not over yet: until then extensions may subscribe.
    initialising: bool,
    /// Whether somebody wants to hear when the runtime's part of the init is over.
    observed: bool,
    /// Of the current invoke, where somebody looks.
    timing: Option<Box<Timing>>,
    /// In the place of `parked`, `upload` and `current` where the process takes several invokes at a time.
    several: Option<Box<Several>>,
}

/// What external extensions are to do, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathering {
    Nothing,
    /// Register (LC-01).
    Register,
    /// Acknowledge the end (LC-19).
    Acknowledge,
}

/// The invoke that the process has, or is to get.
#[derive(Debug)]
struct Current {
    delivery: Delivery,
    answer: Progress,
    /// Whether the caller takes a stream.
    streams: bool,
}

/// How far the answer to an invoke is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// There is none, or not all of it.
    Missing,
    /// It was refused, and the caller knows. The id is still the current one: a further answer comes out of order (RT-28).
    Refused,
    /// It is there; the id is nobody's any more.
    Accepted,
}

/// What the worker must know of.
#[derive(Debug)]
pub(crate) enum Event {
    /// The runtime's part of the phase is over; [`Event::Ready`] follows when extensions are done, too. Told only where
    /// somebody looks.
    RuntimeDone,
    /// An extension has registered.
    Registered(String),
    /// An extension subscribes to telemetry or logs.
    Subscribe(String, Subscription, SubscribeReply),
    /// All external extensions have registered, or all have acknowledged the end.
    Gathered,
    /// An extension gives up.
    ExtensionFailed(ExtensionFailure),
    /// The process waits for an event: its init, or the invoke before, is over (RT-26).
    Ready,
    /// Its init failed.
    InitError(FunctionError),
    /// The result of the current invoke begins to arrive; [`Event::Uploaded`] follows at its end.
    Streaming(Offer),
    /// An answer to the current invoke.
    Uploaded(Uploaded),
    /// Something about one of several invokes.
    Several(Answer),
}

// === impl Session ===

impl Session {
    /// A session, and the link for the handlers.
    pub(crate) fn new(function: Arc<Function>, concurrency: usize, observed: bool) -> (Self, Link) {
        let (link, call_rx) = Link::new(function);
        let session = Self {
            call_rx,
            state: RuntimeState::Started,
            parked: None,
            upload: None,
            failure: None,
            current: None,
            extensions: Extensions::default(),
            waiting: false,
            gathering: Gathering::Nothing,
            initialising: true,
            observed,
            timing: None,
            several: (concurrency > 1).then(Box::default),
        };
        (session, link)
    }

    /// Answers calls until there is something to tell.
    ///
    /// # Cancel safety
    ///
    /// No call is lost when the future is dropped.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready() {
                return event;
            }
            tokio::select! {
                // A client that has read its 202 may call `next` at once: the upload is seen first.
                biased;
                uploaded = finished(&mut self.upload) => return Event::Uploaded(self.on_uploaded(uploaded)),
                uploaded = finished(&mut self.failure) => {
                    // One that broke off says nothing; the process is expected to end anyway.
                    if let Uploaded::Error(error) = uploaded {
                        return Event::InitError(error);
                    }
                }
                (id, uploaded) = one_finished(&mut self.several), if self.several.is_some() => {
                    return Event::Several(Answer::Uploaded(id, uploaded));
                }
                Some(call) = self.call_rx.recv() => {
                    if let Some(event) = self.on_call(call) {
                        return event;
                    }
                }
            }
        }
    }

    /// Gives the process an invoke, now or when it asks.
    pub(crate) fn assign(&mut self, delivery: Delivery, streams: bool, observed: bool) {
        self.timing = observed.then(|| Box::new(Timing::start()));
        self.extensions.invoke(&delivery);
        self.current = Some(Current { delivery, answer: Progress::Missing, streams });
        self.deliver();
    }

    /// The invoke at hand.
    pub(crate) fn current(&self) -> Option<RequestId> {
        self.current.as_ref().map(|current| current.delivery.id)
    }

    /// Where the time of the invoke went, where somebody looks.
    pub(crate) fn timing(&self) -> Option<&Timing> {
        self.timing.as_deref()
    }

    /// Whether the runtime has asked for its first event.
    pub(crate) fn runtime_is_up(&self) -> bool {
        !matches!(self.state, RuntimeState::Started | RuntimeState::InitError)
    }

    /// Forgets the invoke, which is over.
    pub(crate) fn release(&mut self) {
        self.current = None;
    }

    /// The invokes of a process that takes several.
    pub(crate) fn several(&mut self) -> Option<&mut Several> {
        self.several.as_deref_mut()
    }

    /// These external extensions are being started; [`Event::Gathered`] follows when all have registered.
    pub(crate) fn expect(&mut self, names: impl Iterator<Item = String>) {
        self.extensions.expect(names);
        self.gathering = Gathering::Register;
    }

    /// One of them could not be started.
    pub(crate) fn not_launched(&mut self, name: &str, kind: &str) {
        self.extensions.not_launched(name, kind);
    }

    /// Tells external extensions of the end; [`Event::Gathered`] follows when none is left to be waited for.
    pub(crate) fn shut_down(&mut self, reason: ShutdownReason, deadline: Deadline) {
        self.extensions.shut_down(reason, deadline);
        self.gathering = Gathering::Acknowledge;
    }

    /// Who is there beside the runtime.
    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The process of an external extension has ended.
    pub(crate) fn gone(&mut self, name: &str) {
        self.extensions.gone(name);
    }

    /// What there is to tell of extensions.
    pub(crate) fn statuses(&self) -> Vec<ExtensionStatus> {
        self.extensions.statuses()
    }

    /// Whether an answer, or the failure of an init, is on its way.
    pub(crate) fn is_uploading(&self) -> bool {
        self.upload.is_some()
            || self.failure.is_some()
            || self.several.as_ref().is_some_and(|several| several.is_uploading())
    }

    fn on_call(&mut self, call: Call) -> Option<Event> {
        match call {
            Call::Next(reply) => self.on_next(reply),
            Call::Begin { id, kind, offer, reply } => {
                let upload = match &mut self.several {
                    Some(several) => several.begin(id, offer.is_some()),
                    None => self.on_begin(id, kind, offer.is_some()),
                };
                let streams = upload.as_ref().is_ok_and(|upload| upload.streams);
                let _ = reply.send(upload);
                let offer = offer.filter(|_| streams)?;
                Some(match id.filter(|_| self.several.is_some()) {
                    Some(id) => Event::Several(Answer::Streaming(id, offer)),
                    None => Event::Streaming(offer),
                })
            }
            Call::Register { name, wanted, reply } => {
                let registered = match self.state {
                    // There is no moment at which all of several invokes begin.
                    _ if wanted.invoke && self.several.is_some() => {
                        Err(ExtensionError::InvalidEvent("INVOKE".to_owned()))
                    }
                    RuntimeState::Started => self.extensions.register(name.clone(), wanted),
                    _ => Err(ExtensionError::Closed),
                };
                let event = registered.is_ok().then_some(Event::Registered(name));
                let _ = reply.send(registered);
                event
            }
            Call::Subscribe { id, subscription, reply } => match self.extensions.name(id) {
                Err(error) => {
                    let _ = reply.send(Err(SubscribeError::Extension(error)));
                    None
                }
                Ok(_) if !self.initialising || self.gathering == Gathering::Acknowledge => {
                    let closed = SubscriptionError::Closed(subscription.api);
                    let _ = reply.send(Err(SubscribeError::Subscription(closed)));
                    None
                }
                Ok(name) => Some(Event::Subscribe(name, subscription, reply)),
            },
            Call::ExtensionNext { id, reply } => {
                self.extensions.next(id, reply);
                self.ready()
            }
            Call::ExtensionFailed { id, state, error_type, reply } => {
                let given_up = self.extensions.give_up(id, state, &error_type);
                let _ = reply.send(given_up.as_ref().map(|_| ()).map_err(Clone::clone));
                let error = match state {
                    ExtensionState::InitError => error_type::EXTENSION_INIT_ERROR,
                    _ => error_type::EXTENSION_EXIT_ERROR,
                };
                given_up
                    .ok()
                    .map(|name| Event::ExtensionFailed(ExtensionFailure { name, error, reason: error_type }))
            }
            Call::InitError { reply } => {
                let upload = self.step(RuntimeCall::InitError).map(|()| {
                    let (upload, uploaded_rx) = Upload::new(false);
                    self.failure = Some(uploaded_rx);
                    upload
                });
                let _ = reply.send(upload);
                None
            }
        }
    }

    fn on_next(&mut self, reply: NextReply) -> Option<Event> {
        let before = self.state;
        if let Err(error) = self.step(RuntimeCall::Next) {
            let _ = reply.send(Err(error));
            return None;
        }
        if let Some(several) = &mut self.several {
            several.park(reply);
            return match before {
                RuntimeState::Started => self.runtime_done(),
                _ if self.waiting => self.ready(),
                _ => Some(Event::Ready),
            };
        }
        // A second one replaces the first, whose connection is as good as gone.
        self.parked = Some(reply);
        match before {
            RuntimeState::Started | RuntimeState::ResponseSent => self.runtime_done(),
            _ => {
                self.deliver();
                None
            }
        }
    }

    /// The end of a wait for external extensions.
    fn gathered(&mut self) -> Option<Event> {
        let over = match self.gathering {
            Gathering::Nothing => false,
            Gathering::Register => self.extensions.all_registered(),
            Gathering::Acknowledge => self.extensions.is_down(),
        };
        if over {
            self.gathering = Gathering::Nothing;
        }
        over.then_some(Event::Gathered)
    }

    /// The phase is over when the runtime and all of its extensions wait (LC-02, LC-07).
    fn ready(&mut self) -> Option<Event> {
        if self.gathering != Gathering::Nothing {
            return self.gathered();
        }
        let over = self.waiting && self.extensions.settled();
        self.waiting &= !over;
        self.initialising &= !over;
        over.then_some(Event::Ready)
    }

    /// The runtime waits for an event; whether somebody wants to hear of it apart from the end of the phase.
    fn runtime_done(&mut self) -> Option<Event> {
        self.waiting = true;
        let observed = match &mut self.timing {
            _ if self.initialising => self.observed,
            Some(timing) => {
                timing.done();
                true
            }
            None => false,
        };
        if observed { Some(Event::RuntimeDone) } else { self.ready() }
    }

    /// Hands the current invoke to the waiting `next`. If nobody reads it, the next one gets it (RT-24, RT-25).
    fn deliver(&mut self) {
        let missing = |current: &&Current| current.answer == Progress::Missing;
        let Some(current) = self.current.as_ref().filter(missing) else { return };
        let Some(reply) = self.parked.take() else { return };
        if reply.send(Ok(current.delivery.clone())).is_ok() {
            self.state = RuntimeState::Running;
        }
    }

    /// RT-40: the id is checked before the order.
    fn on_begin(&mut self, id: Option<RequestId>, kind: CallKind, offered: bool) -> Result<Upload, ApiError> {
        let open =
            |current: &&Current| current.answer != Progress::Accepted && Some(current.delivery.id) == id;
        let current = self.current.as_ref().filter(open);
        let streams = current.ok_or(ApiError::InvalidRequestId)?.streams && offered;
        self.step(match kind {
            CallKind::Response => RuntimeCall::Response,
            CallKind::Error => RuntimeCall::Error,
        })?;
        if let Some(timing) = &mut self.timing {
            timing.answering();
        }
        let (upload, uploaded_rx) = Upload::new(streams);
        self.upload = Some(uploaded_rx);
        Ok(upload)
    }

    fn on_uploaded(&mut self, uploaded: Uploaded) -> Uploaded {
        self.state = RuntimeState::ResponseSent;
        if let Some(timing) = &mut self.timing {
            timing.answered(uploaded.size());
        }
        if let Some(current) = &mut self.current {
            current.answer = match uploaded {
                Uploaded::Result(..) | Uploaded::Streamed(_) | Uploaded::Error(_) => Progress::Accepted,
                Uploaded::TooLarge(_) | Uploaded::Truncated | Uploaded::InvalidMode => Progress::Refused,
            };
        }
        uploaded
    }

    fn step(&mut self, call: RuntimeCall) -> Result<(), ApiError> {
        self.state = self.state.after(call).map_err(ApiError::InvalidTransition)?;
        Ok(())
    }
}

/// The end of one of several uploads.
async fn one_finished(several: &mut Option<Box<Several>>) -> (RequestId, Uploaded) {
    match several {
        Some(several) => several.uploaded().await,
        None => std::future::pending().await,
    }
}

/// The end of the upload, if there is one; else never.
async fn finished(upload: &mut Option<oneshot::Receiver<Uploaded>>) -> Uploaded {
    let Some(receiver) = upload else { return std::future::pending().await };
    // A right that was dropped unused is an upload that broke off.
    let uploaded = receiver.await.unwrap_or(Uploaded::Truncated);
    *upload = None;
    uploaded
}
