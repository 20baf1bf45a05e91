//! The state machine of one runtime process (section 1.9): which call is legal when, and where it leads.

use std::fmt;

/// Where a runtime process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeState {
    /// Started, has not called anything yet.
    Started,
    /// Reported that its init failed; nothing follows.
    InitError,
    /// Waits for an event.
    Ready,
    /// Has an event.
    Running,
    /// Is sending its result.
    InvocationResponse,
    /// Is sending its error.
    InvocationErrorResponse,
    /// Has answered and has not asked for the next event yet.
    ResponseSent,
}

/// A call whose order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeCall {
    /// `GET …/invocation/next`.
    Next,
    /// `POST …/invocation/{id}/response`.
    Response,
    /// `POST …/invocation/{id}/error`.
    Error,
    /// `POST …/init/error`.
    InitError,
}

/// A call in the wrong order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("State transition from {from} to {to} failed for runtime. Error: State transition is not allowed")]
pub struct InvalidTransition {
    from: RuntimeState,
    to: RuntimeState,
}

// === impl RuntimeState ===

impl RuntimeState {
    /// The state after a call, or why the call is refused. A second `next` while running delivers the same event again
    /// (RT-24), so it stays in [`RuntimeState::Running`].
    pub fn after(self, call: RuntimeCall) -> Result<Self, InvalidTransition> {
        use RuntimeState::{Ready, ResponseSent, Running, Started};
        let to = call.target();
        match (self, call) {
            (Started | Ready | ResponseSent, RuntimeCall::Next) => Ok(Ready),
            (Running, RuntimeCall::Next) => Ok(Running),
            (Running, RuntimeCall::Response | RuntimeCall::Error) | (Started, RuntimeCall::InitError) => {
                Ok(to)
            }
            _ => Err(InvalidTransition { from: self, to }),
        }
    }
}

impl RuntimeCall {
    fn target(self) -> RuntimeState {
        match self {
            Self::Next => RuntimeState::Ready,
            Self::Response => RuntimeState::InvocationResponse,
            Self::Error => RuntimeState::InvocationErrorResponse,
            Self::InitError => RuntimeState::InitError,
        }
    }
}

impl fmt::Display for RuntimeState {
    /// The names as the emulator prints them; the last one really carries a prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "Started",
            Self::InitError => "InitError",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InvocationResponse => "InvocationResponse",
            Self::InvocationErrorResponse => "InvocationErrorResponse",
            Self::ResponseSent => "RuntimeResponseSentState",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::RuntimeCall::{Error, InitError, Next, Response};
    use super::*;

    const STATES: [RuntimeState; 7] = [
        RuntimeState::Started,
        RuntimeState::InitError,
        RuntimeState::Ready,
        RuntimeState::Running,
        RuntimeState::InvocationResponse,
        RuntimeState::InvocationErrorResponse,
        RuntimeState::ResponseSent,
    ];

    /// Every state against every call: what is not listed is refused.
    #[test]
    fn the_whole_table() {
        let legal = [
            (RuntimeState::Started, Next, RuntimeState::Ready),
            (RuntimeState::Started, InitError, RuntimeState::InitError),
            (RuntimeState::Ready, Next, RuntimeState::Ready),
            (RuntimeState::Running, Next, RuntimeState::Running),
            (RuntimeState::Running, Response, RuntimeState::InvocationResponse),
            (RuntimeState::Running, Error, RuntimeState::InvocationErrorResponse),
            (RuntimeState::ResponseSent, Next, RuntimeState::Ready),
        ];
        for from in STATES {
            for call in [Next, Response, Error, InitError] {
                let expected = legal.iter().find(|(f, c, _)| (*f, *c) == (from, call)).map(|(_, _, to)| *to);
                assert_eq!(from.after(call).ok(), expected, "{from} {call:?}");
            }
        }
    }
}
