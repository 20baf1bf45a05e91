//! The extensions of one environment: registered during its init, told of invokes, waited for at the end of each phase
//! (LC-02, LC-07), and told of the end (LC-17).
//!
//! External ones stand here from the start, under the names of their files; whoever else registers lives inside the
//! runtime's process. An extension that gives up, or whose process ends, takes its environment along: the worker's
//! next invoke starts another one. Other workers have environments, and extensions, of their own.

use tm_lambda::Deadline;
use tm_lambda::extension::{
    ExtensionError, ExtensionState, ExtensionStatus, MAX_EXTENSIONS, ShutdownReason, Subscriptions,
    invoke_event, shutdown_event,
};
use uuid::Uuid;

use crate::invocation::Delivery;
use crate::runtime_api::ExtensionReply;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Extensions(Vec<Extension>);

#[derive(Debug)]
struct Extension {
    name: String,
    external: bool,
    /// Not there until it has registered.
    id: Option<Uuid>,
    wanted: Subscriptions,
    state: ExtensionState,
    error_type: Option<String>,
    /// Whether it waits, or nobody waits for it: false until its first `event/next`, and from each event to the next one.
    settled: bool,
    /// An event that it has not asked for yet.
    pending: Option<String>,
    parked: Option<ExtensionReply>,
    end: End,
}

/// How far an extension is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nobody waits for it.
    None,
    /// It is to be told, and does not listen yet.
    Untold,
    /// It was told.
    Told,
    /// It gave up by itself, and is expected to end.
    GivenUp,
}

// === impl Extensions ===

impl Extensions {
    /// These external ones are being started.
    pub(super) fn expect(&mut self, names: impl Iterator<Item = String>) {
        self.0.extend(names.map(|name| Extension::new(name, true)));
    }

    /// Notes that one could not be started.
    pub(super) fn not_launched(&mut self, name: &str, kind: &str) {
        if let Some(extension) = self.named(name) {
            extension.state = ExtensionState::LaunchError;
            extension.error_type = Some(kind.to_owned());
        }
    }

    /// One registers. SHUTDOWN is for external ones.
    pub(super) fn register(&mut self, name: String, wanted: Subscriptions) -> Result<Uuid, ExtensionError> {
        let expected = self.named(&name).is_some_and(|known| known.external && known.id.is_none());
        if !expected {
            self.admit(name.clone(), wanted)?;
        }
        let id = Uuid::new_v4();
        let extension = self.named(&name).expect("it is expected or was just admitted");
        extension.id = Some(id);
        extension.wanted = wanted;
        extension.state = ExtensionState::Registered;
        Ok(id)
    }

    /// Makes room for one inside the runtime.
    fn admit(&mut self, name: String, wanted: Subscriptions) -> Result<(), ExtensionError> {
        if self.named(&name).is_some() {
            return Err(ExtensionError::NameTaken);
        }
        if wanted.shutdown {
            return Err(ExtensionError::InvalidEvent("SHUTDOWN".to_owned()));
        }
        if self.0.len() >= MAX_EXTENSIONS {
            return Err(ExtensionError::TooMany);
        }
        self.0.push(Extension::new(name, false));
        Ok(())
    }

    /// Whether all external ones have registered (LC-01).
    pub(super) fn all_registered(&self) -> bool {
        self.0.iter().all(|extension| extension.id.is_some())
    }

    /// Whether there are any, external or not.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One waits for its next event; for ever where it asked for none (EX-07).
    pub(super) fn next(&mut self, id: Uuid, reply: ExtensionReply) {
        match self.may(id, ExtensionState::Ready) {
            Ok(extension) => extension.next(reply),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// One gives up; its name.
    pub(super) fn give_up(
        &mut self,
        id: Uuid,
        state: ExtensionState,
        error_type: &str,
    ) -> Result<String, ExtensionError> {
        let extension = self.may(id, state)?;
        extension.state = state;
        extension.error_type = Some(error_type.to_owned());
        extension.end = if extension.external { End::GivenUp } else { End::None };
        Ok(extension.name.clone())
    }

    /// Tells all that want to know of an invoke (EX-08).
    pub(super) fn invoke(&mut self, delivery: &Delivery) {
        if !self.0.iter().any(|extension| extension.wanted.invoke) {
            return;
        }
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let trace = delivery.context.trace.as_ref().map(text);
        let arn = text(&delivery.context.arn);
        let event = invoke_event(delivery.id, delivery.deadline, &arn, trace.as_deref());
        for extension in self.0.iter_mut().filter(|extension| extension.wanted.invoke) {
            extension.tell(event.clone());
        }
    }

    /// Tells those that want to know of the end. An event that they have not asked for is not worth asking for any more.
    pub(super) fn shut_down(&mut self, reason: ShutdownReason, deadline: Deadline) {
        let event = shutdown_event(reason, deadline);
        let told = |extension: &&mut Extension| {
            extension.external && extension.wanted.shutdown && extension.end == End::None
        };
        for extension in self.0.iter_mut().filter(told) {
            extension.end = End::Untold;
            extension.tell(event.clone());
        }
    }

    /// Whether somebody is to be waited for at the end.
    pub(super) fn awaited(&self, name: &str) -> bool {
        self.0.iter().any(|extension| extension.name == name && extension.end != End::None)
    }

    /// Whether nobody is.
    pub(super) fn is_down(&self) -> bool {
        self.0.iter().all(|extension| extension.end == End::None)
    }

    /// The process of one has ended.
    pub(super) fn gone(&mut self, name: &str) {
        if let Some(extension) = self.named(name) {
            extension.end = End::None;
            extension.wanted = Subscriptions::default();
        }
    }

    /// Whether nobody has to be waited for.
    pub(super) fn settled(&self) -> bool {
        self.0.iter().all(|extension| extension.settled)
    }

    /// What there is to tell of them.
    pub(super) fn statuses(&self) -> Vec<ExtensionStatus> {
        let status = |extension: &Extension| ExtensionStatus {
            name: extension.name.clone(),
            state: extension.state,
            events: extension.wanted,
            error_type: extension.error_type.clone(),
        };
        self.0.iter().map(status).collect()
    }

    /// Whose identifier it is.
    pub(super) fn name(&mut self, id: Uuid) -> Result<String, ExtensionError> {
        self.find(id).map(|extension| extension.name.clone())
    }

    /// The extension, if it may make the call that leads to `to`.
    fn may(&mut self, id: Uuid, to: ExtensionState) -> Result<&mut Extension, ExtensionError> {
        let extension = self.find(id)?;
        let (from, name) = (extension.state, extension.name.clone());
        if !from.allows(to) {
            return Err(ExtensionError::InvalidTransition { name, from, to });
        }
        Ok(extension)
    }

    fn find(&mut self, id: Uuid) -> Result<&mut Extension, ExtensionError> {
        let unknown = || ExtensionError::Unknown(id.to_string());
        self.0.iter_mut().find(|extension| extension.id == Some(id)).ok_or_else(unknown)
    }

    fn named(&mut self, name: &str) -> Option<&mut Extension> {
        self.0.iter_mut().find(|extension| extension.name == name)
    }
}

// === impl Extension ===

impl Extension {
    fn new(name: String, external: bool) -> Self {
        Self {
            name,
            external,
            id: None,
            wanted: Subscriptions::default(),
            state: ExtensionState::Started,
            error_type: None,
            settled: false,
            pending: None,
            parked: None,
            end: End::None,
        }
    }

    fn next(&mut self, reply: ExtensionReply) {
        if self.state == ExtensionState::Registered {
            self.state = ExtensionState::Ready;
        }
        if self.end == End::Told {
            // LC-19: that is how it says that it is done.
            self.end = End::None;
        }
        // A second call replaces the first, whose connection is as good as gone.
        self.parked = Some(reply);
        self.settled = self.pending.is_none();
        self.deliver();
    }

    fn tell(&mut self, event: String) {
        self.pending = Some(event);
        self.settled = false;
        self.deliver();
    }

    /// Hands an event over; one that nobody reads is there for the next call.
    fn deliver(&mut self) {
        let Some(event) = self.pending.take() else { return };
        match self.parked.take() {
            Some(reply) => match reply.send(Ok(event)) {
                Ok(()) => {
                    self.settled = false;
                    self.end = if self.end == End::Untold { End::Told } else { self.end };
                }
                Err(unread) => self.pending = unread.ok(),
            },
            None => self.pending = Some(event),
        }
    }
}
