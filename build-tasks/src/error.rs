//! Failures: one line on stderr, a hint where there is a known cure, and an exit code that says what kind it was.

use std::{error::Error, process::ExitCode};

use crate::output;

/// Exit codes, listed in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Anything without a code of its own.
    General = 1,
    /// The upload broke off; sending it again may help.
    Incomplete = 3,
    /// What came is not what was announced; sending it again may help.
    Mismatch = 4,
    /// The archive is refused; sending it again does not help.
    Refused = 5,
    /// Nothing came in time.
    Timeout = 6,
    /// The registry refused us.
    Registry = 7,
    /// SIGTERM or SIGINT.
    Stopped = 143,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    hint: Option<String>,
}

// === impl Failure ===

impl Failure {
    /// A failure with a cause.
    pub(crate) fn new(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..Self::because(message) }
    }

    /// A failure that is its own cause.
    pub(crate) fn because(message: impl Into<String>) -> Self {
        Self { code: Code::General as u8, message: message.into(), source: None, hint: None }
    }

    /// A tool ended with this code and said why itself.
    pub(crate) fn passed_on(message: impl Into<String>, code: u8) -> Self {
        Self { code, ..Self::because(message) }
    }

    pub(crate) fn code(self, code: Code) -> Self {
        Self { code: code as u8, ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says it on stderr and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        output::error(&format!("error: {}", self.chain()));
        if let Some(hint) = &self.hint {
            output::error(&format!("hint: {hint}"));
        }
        ExitCode::from(self.code)
    }

    /// The message and its causes, each once.
    fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut source = self.source.as_deref().map(|error| error as &dyn Error);
        while let Some(error) = source {
            let message = error.to_string();
            if !text.contains(&message) {
                text = format!("{text}: {message}");
            }
            source = error.source();
        }
        text.replace('\n', " ")
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new("the disk failed", error)
    }
}

impl From<tm_oci::registry::RegistryError> for Failure {
    fn from(error: tm_oci::registry::RegistryError) -> Self {
        let hint = error.hint().map(str::to_owned);
        let source = error.source().map(|cause| Words(chain_of(cause)).into());
        Self { code: Code::Registry as u8, message: error.to_string(), source, hint }
    }
}

/// Causes as text, for an error whose own message was taken already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

fn chain_of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let inner = std::io::Error::other("disk full");
        let failure = Failure::new("failed to write: disk full", inner);
        assert_eq!(failure.chain(), "failed to write: disk full");
        let failure = Failure::new("failed to write", std::io::Error::other("disk\nfull"));
        assert_eq!(failure.chain(), "failed to write: disk full");
    }
}
