//! The Extensions API in words (section 5): registrations, events, refusals.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::deadline::Deadline;
use crate::id::RequestId;

/// What an extension asks to be told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// Each invoke.
    pub invoke: bool,
    /// The end of the environment.
    pub shutdown: bool,
}

/// The body of a registration.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default)]
    configuration_keys: Option<Vec<serde_json::Value>>,
}

/// What a registration is answered with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered<'a> {
    /// The function.
    pub function_name: &'a str,
    /// Its version.
    pub function_version: &'a str,
    /// Its handler.
    pub handler: &'a str,
    /// Its account, for those who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<&'a str>,
}

/// The event of an invoke, with AWS's order of keys.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Invoke<'a> {
    event_type: &'static str,
    deadline_ms: i64,
    request_id: String,
    invoked_function_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<Tracing<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct Tracing<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

/// The end of the environment, with AWS's order of keys.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shutdown {
    event_type: &'static str,
    deadline_ms: i64,
    shutdown_reason: &'static str,
}

/// Why an environment ends (LC-21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// It is not needed any more.
    Spindown,
    /// An invoke, or an init, took too long.
    Timeout,
    /// Its runtime or an extension failed.
    Failure,
}

/// Where an extension stands (section 5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionState {
    /// Its process runs.
    Started,
    /// It has registered.
    Registered,
    /// It has asked for its first event.
    Ready,
    /// It reported that its init failed.
    InitError,
    /// It reported that it gives up.
    ExitError,
    /// It could not be started.
    LaunchError,
}

/// One extension, as log lines and records tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionStatus {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: ExtensionState,
    /// What it is told of.
    pub events: Subscriptions,
    /// What it, or its start, failed with.
    pub error_type: Option<String>,
}

/// A call of an extension that is refused. The texts are AWS's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// No name.
    #[error("Empty extension name")]
    EmptyName,
    /// A body that is no registration.
    #[error("{0}")]
    InvalidRequest(String),
    /// An event that does not exist, or that this kind of extension cannot have.
    #[error("{0}: invalid event type")]
    InvalidEvent(String),
    /// The name is taken.
    #[error("Extension with this name already registered")]
    NameTaken,
    /// The runtime has asked for its first event.
    #[error("Extension registration closed already")]
    Closed,
    /// EX-03.
    #[error("Extension limit (10) reached")]
    TooMany,
    /// No identifier.
    #[error("Missing Lambda-Extension-Identifier header")]
    MissingIdentifier,
    /// An identifier that is none.
    #[error("Invalid Lambda-Extension-Identifier")]
    InvalidIdentifier,
    /// Nobody's identifier.
    #[error("Unknown extension {0}")]
    Unknown(String),
    /// A call in the wrong order.
    #[error("State transition from {} to {} failed for extension {name}. Error: State transition is not allowed", from.word(), to.word())]
    InvalidTransition {
        /// Who.
        name: String,
        /// Where it stands.
        from: ExtensionState,
        /// Where the call would lead.
        to: ExtensionState,
    },
    /// An error report without a type.
    #[error("Lambda-Extension-Function-Error-Type not found")]
    MissingErrorType,
    /// The environment is going away.
    #[error("Internal Server Error")]
    Internal,
}

/// EX-03: most registrations of one environment.
pub const MAX_EXTENSIONS: usize = 10;

/// Reads the body of a registration; no events are legal.
///
/// # Errors
///
/// No JSON, the deprecated configuration keys, and events that do not exist.
pub fn subscriptions(body: &[u8]) -> Result<Subscriptions, ExtensionError> {
    let registration: Registration =
        serde_json::from_slice(body).map_err(|error| ExtensionError::InvalidRequest(error.to_string()))?;
    if registration.configuration_keys.is_some_and(|keys| !keys.is_empty()) {
        let text = "configurationKeys are deprecated; use environment variables instead";
        return Err(ExtensionError::InvalidRequest(text.to_owned()));
    }
    let mut wanted = Subscriptions::default();
    for event in registration.events.unwrap_or_default() {
        match event.as_str() {
            "INVOKE" => wanted.invoke = true,
            "SHUTDOWN" => wanted.shutdown = true,
            _ => return Err(ExtensionError::InvalidEvent(event)),
        }
    }
    Ok(wanted)
}

/// The JSON of an INVOKE event.
pub fn invoke_event(id: RequestId, deadline: Deadline, arn: &str, trace: Option<&str>) -> String {
    let event = Invoke {
        event_type: "INVOKE",
        deadline_ms: deadline.unix_millis(),
        request_id: id.to_string(),
        invoked_function_arn: arn,
        tracing: trace.map(|value| Tracing { kind: "X-Amzn-Trace-Id", value }),
    };
    serde_json::to_string(&event).expect("texts and numbers serialise")
}

/// The JSON of a SHUTDOWN event.
pub fn shutdown_event(reason: ShutdownReason, deadline: Deadline) -> String {
    let event = Shutdown {
        event_type: "SHUTDOWN",
        deadline_ms: deadline.unix_millis(),
        shutdown_reason: reason.word(),
    };
    serde_json::to_string(&event).expect("texts and numbers serialise")
}

// === impl ShutdownReason ===

impl ShutdownReason {
    /// EX-06: in lower case, whatever the developer guide prints.
    fn word(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

// === impl ExtensionState ===

impl ExtensionState {
    /// Whether a registered extension may make the call that leads to `to`: an init that is over cannot fail, and who gave
    /// up waits for nothing.
    pub fn allows(self, to: Self) -> bool {
        match to {
            Self::InitError => matches!(self, Self::Registered | Self::InitError),
            Self::Ready => matches!(self, Self::Registered | Self::Ready),
            _ => true,
        }
    }

    /// The state's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
            Self::LaunchError => "LaunchError",
        }
    }
}

// === impl Subscriptions ===

impl Subscriptions {
    /// The events' names.
    pub fn words(self) -> Vec<&'static str> {
        let words = [(self.invoke, "INVOKE"), (self.shutdown, "SHUTDOWN")];
        words.into_iter().filter_map(|(wanted, word)| wanted.then_some(word)).collect()
    }
}

// === impl ExtensionError ===

impl ExtensionError {
    /// The status: 403, whatever it is.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// The JSON body, newline included.
    pub fn body(&self) -> String {
        let (message, kind) = (self.to_string(), self.kind());
        let body = serde_json::json!({"errorMessage": message, "errorType": kind});
        format!("{body}\n")
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::EmptyName => "Extension.InvalidExtensionName",
            Self::InvalidRequest(_) => "InvalidRequestFormat",
            Self::InvalidEvent(_) => "Extension.InvalidEventType",
            Self::NameTaken | Self::InvalidTransition { .. } => "Extension.InvalidExtensionState",
            Self::Closed => "Extension.RegistrationClosed",
            Self::TooMany => "Extension.TooManyExtensions",
            Self::MissingIdentifier => "Extension.MissingExtensionIdentifier",
            Self::InvalidIdentifier => "Extension.InvalidExtensionIdentifier",
            Self::Unknown(_) => "Extension.UnknownExtensionIdentifier",
            Self::MissingErrorType => "Extension.MissingHeader",
            Self::Internal => "InternalServerError",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    #[test]
    fn registrations() {
        let both = Subscriptions { invoke: true, shutdown: true };
        assert_eq!(subscriptions(br#"{"events":["INVOKE","SHUTDOWN"]}"#), Ok(both));
        for none in ["{}", r#"{"events":null}"#, r#"{"events":[]}"#, r#"{"configurationKeys":[]}"#] {
            assert_eq!(subscriptions(none.as_bytes()), Ok(Subscriptions::default()), "{none}");
        }
        for bad in
            ["", "[", r#"{"configurationKeys":["a"]}"#, r#"{"events":["invoke"]}"#, r#"{"events":"INVOKE"}"#]
        {
            assert!(subscriptions(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn lc_21_ex_06_events_and_refusals_are_byte_exact() {
        let id = RequestId::parse("5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10").unwrap();
        let arrival = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let deadline = Deadline::after(arrival, Duration::from_secs(3));
        assert_eq!(
            invoke_event(id, deadline, "arn", Some("Root=1")),
            r#"{"eventType":"INVOKE","deadlineMs":1700000003000,"requestId":"5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10","invokedFunctionArn":"arn","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1"}}"#
        );
        assert!(!invoke_event(id, deadline, "arn", None).contains("tracing"));
        let shutdown = |reason| shutdown_event(reason, deadline);
        assert_eq!(
            shutdown(ShutdownReason::Spindown),
            r#"{"eventType":"SHUTDOWN","deadlineMs":1700000003000,"shutdownReason":"spindown"}"#
        );
        assert!(shutdown(ShutdownReason::Timeout).ends_with(r#":"timeout"}"#));
        assert!(shutdown(ShutdownReason::Failure).ends_with(r#":"failure"}"#));
        assert_eq!(
            ExtensionError::MissingIdentifier.body(),
            "{\"errorMessage\":\"Missing Lambda-Extension-Identifier header\",\"errorType\":\"Extension.MissingExtensionIdentifier\"}\n"
        );
        assert_eq!(ExtensionError::TooMany.status(), 403);
        let (name, from, to) = ("lens".to_owned(), ExtensionState::Ready, ExtensionState::InitError);
        assert_eq!(
            ExtensionError::InvalidTransition { name, from, to }.body(),
            "{\"errorMessage\":\"State transition from Ready to InitError failed for extension lens. Error: State transition is not allowed\",\"errorType\":\"Extension.InvalidExtensionState\"}\n"
        );
    }
}
