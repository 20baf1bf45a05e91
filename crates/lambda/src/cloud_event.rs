//! CloudEvents over HTTP (section 9): received as events with a context, results given as replies.
//!
//! The mapping is aws-custom-runtime's: `data` is the event, the attributes are the client context. [`receive`] tells the modes
//! apart and reads them, [`Replies`] makes a structured event of a result. Nothing here does I/O.

mod receive;
mod reply;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use receive::{BadEvent, Received, receive};
pub use reply::{BadReply, Replies, ReplyMode};

/// One event, as a function gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudEvent {
    /// The attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// The event: JSON, whatever the data was (CE-11).
    pub data: Bytes,
}

/// Replies and structured events.
pub const STRUCTURED: &str = "application/cloudevents+json";

// === impl CloudEvent ===

impl CloudEvent {
    /// The attributes as JSON for headers: keys sorted, on one line, in visible ASCII, as Go writes it (CE-11). First as a
    /// client context, then alone.
    pub fn contexts(&self) -> (String, String) {
        let json = serde_json::to_string(&self.attributes).expect("texts serialise");
        let json = crate::invoke::header_safe(&json);
        let json = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
        (format!("{{\"custom\":{json}}}"), json)
    }
}

#[cfg(test)]
mod tests;
