//! Why a process can no longer serve, in the words of callers, logs and the shim's own diagnostics.

use std::fmt;
use std::time::Duration;

use tm_lambda::extension::ShutdownReason;
use tm_lambda::log::Status;
use tm_lambda::{FunctionError, RequestId, RuntimeExit, error_type};

use crate::invocation::Outcome;
use crate::process::StartError;

/// The end of an init or an invoke that did not go well.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// There is no process.
    NotStarted(StartError),
    /// The runtime reported that its init failed.
    InitError(FunctionError),
    /// The process ended.
    Exited(RuntimeExit),
    /// An extension failed, or could not be started.
    Extension(ExtensionFailure),
    /// The time was over.
    TimedOut,
    /// The shim stops now.
    Halted,
}

/// How an environment is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// Killed: the shim has no time left.
    AtOnce,
    /// The runtime first, then the extensions, within the times of the contract.
    InOrder(ShutdownReason),
}

/// Why an extension takes its environment along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtensionFailure {
    /// Which one.
    pub(crate) name: String,
    /// `Extension.…`.
    pub(crate) error: &'static str,
    /// How its process ended, or what it said.
    pub(crate) reason: String,
}

// === impl Ending ===

impl Ending {
    /// The payload for the caller of invoke `id`.
    pub(crate) fn error(&self, id: RequestId, timeout: Duration) -> FunctionError {
        match self {
            Self::NotStarted(error) => error.for_caller(id),
            Self::InitError(error) => error.clone(),
            Self::Exited(exit) => FunctionError::exited(id, *exit),
            Self::Extension(failure) => FunctionError::extension(failure.error, id, &failure.reason),
            Self::TimedOut => FunctionError::timed_out(id, timeout),
            Self::Halted => FunctionError::sandbox_failure(id, "the function is being stopped"),
        }
    }

    /// What the caller is told with it.
    pub(crate) fn outcome(&self, error: FunctionError) -> Outcome {
        match self {
            Self::TimedOut => Outcome::TimedOut(error),
            Self::Halted => Outcome::Stopped(error),
            Self::NotStarted(_) | Self::InitError(_) | Self::Exited(_) | Self::Extension(_) => {
                Outcome::Failed(error)
            }
        }
    }

    /// The status of the runtime's part of the invoke (EX-16): what ended it was itself, the clock, or something else.
    pub(crate) fn runtime_status(&self) -> Status {
        match self.status() {
            Status::Error(error_type) if !matches!(self, Self::Exited(_)) => Status::Failure(error_type),
            status => status,
        }
    }

    /// How the environment is ended after it (LC-21).
    pub(crate) fn shutdown(&self) -> Shutdown {
        match self {
            Self::Halted => Shutdown::AtOnce,
            Self::TimedOut => Shutdown::InOrder(ShutdownReason::Timeout),
            _ => Shutdown::InOrder(ShutdownReason::Failure),
        }
    }

    /// The status in `REPORT` and `INIT_REPORT`.
    pub(crate) fn status(&self) -> Status {
        let error_type = match self {
            Self::TimedOut => return Status::Timeout,
            Self::InitError(error) => error.error_type(),
            Self::Exited(_) => error_type::EXIT_ERROR,
            Self::Extension(failure) => failure.error,
            Self::NotStarted(StartError::InvalidEntrypoint(_)) => error_type::INVALID_ENTRYPOINT,
            Self::NotStarted(StartError::InvalidWorkingDir(_)) => error_type::INVALID_WORKING_DIR,
            Self::NotStarted(StartError::Sandbox(_)) | Self::Halted => error_type::SANDBOX_FAILURE,
        };
        Status::Error(error_type.to_owned())
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::InitError(error) => write!(f, "the runtime reported {}", error.error_type()),
            Self::Exited(exit) => exit.fmt(f),
            Self::Extension(ExtensionFailure { name, error, reason }) => {
                write!(f, "extension {name}: {error}: {reason}")
            }
            Self::TimedOut => f.write_str("the time was over"),
            Self::Halted => f.write_str("the shim stops"),
        }
    }
}
