//! The extensions of one runtime process that live inside it: registered during its init, told of invokes, waited for at the
//! end of each phase (LC-02, LC-07).

use tm_lambda::extension::{ExtensionError, MAX_EXTENSIONS, Subscriptions, invoke_event};
use uuid::Uuid;

use crate::invocation::Delivery;
use crate::runtime_api::ExtensionReply;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Extensions(Vec<Extension>);

#[derive(Debug)]
struct Extension {
    id: Uuid,
    name: String,
    invoke: bool,
    /// Whether it waits, or nobody waits for it: false from its registration, and from each event, to its `event/next`.
    settled: bool,
    /// An event that it has not asked for yet.
    pending: Option<String>,
    parked: Option<ExtensionReply>,
}

// === impl Extensions ===

impl Extensions {
    /// Adds one. Only external extensions may ask for SHUTDOWN, and there are none yet.
    pub(super) fn register(&mut self, name: String, wanted: Subscriptions) -> Result<Uuid, ExtensionError> {
        if wanted.shutdown {
            return Err(ExtensionError::InvalidEvent("SHUTDOWN".to_owned()));
        }
        if self.0.iter().any(|extension| extension.name == name) {
            return Err(ExtensionError::NameTaken);
        }
        if self.0.len() >= MAX_EXTENSIONS {
            return Err(ExtensionError::TooMany);
        }
        let id = Uuid::new_v4();
        let invoke = wanted.invoke;
        self.0.push(Extension { id, name, invoke, settled: false, pending: None, parked: None });
        Ok(id)
    }

    /// One waits for its next event; for ever where it asked for none (EX-07).
    pub(super) fn next(&mut self, id: Uuid, reply: ExtensionReply) {
        match self.find(id) {
            Ok(extension) => {
                // A second call replaces the first, whose connection is as good as gone.
                extension.parked = Some(reply);
                extension.settled = extension.pending.is_none();
                extension.deliver();
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Whether it is known.
    pub(super) fn failed(&mut self, id: Uuid) -> Result<(), ExtensionError> {
        self.find(id).map(|_| ())
    }

    /// Tells all that want to know of an invoke (EX-08).
    pub(super) fn invoke(&mut self, delivery: &Delivery) {
        if !self.0.iter().any(|extension| extension.invoke) {
            return;
        }
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let trace = delivery.context.trace.as_ref().map(text);
        let arn = text(&delivery.context.arn);
        let event = invoke_event(delivery.id, delivery.deadline, &arn, trace.as_deref());
        for extension in self.0.iter_mut().filter(|extension| extension.invoke) {
            extension.pending = Some(event.clone());
            extension.settled = false;
            extension.deliver();
        }
    }

    /// Whether nobody has to be waited for.
    pub(super) fn settled(&self) -> bool {
        self.0.iter().all(|extension| extension.settled)
    }

    fn find(&mut self, id: Uuid) -> Result<&mut Extension, ExtensionError> {
        let unknown = || ExtensionError::Unknown(id.to_string());
        self.0.iter_mut().find(|extension| extension.id == id).ok_or_else(unknown)
    }
}

// === impl Extension ===

impl Extension {
    /// Hands an event over; one that nobody reads is there for the next call.
    fn deliver(&mut self) {
        let Some(event) = self.pending.take() else { return };
        match self.parked.take() {
            Some(reply) => match reply.send(Ok(event)) {
                Ok(()) => self.settled = false,
                Err(unread) => self.pending = unread.ok(),
            },
            None => self.pending = Some(event),
        }
    }
}
