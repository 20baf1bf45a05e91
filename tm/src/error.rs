//! How errors reach the user: each level once, the cause after a colon, a `hint:` where the next step is known.

mod api;

use std::fmt;

use crate::printer::Printer;

/// Exit codes, as `tm --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// Done.
    Success = 0,
    /// It failed; stderr says why.
    Failure = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// Ended by Ctrl-C; what was begun was cancelled.
    Interrupted = 130,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// An error with the next step.
#[derive(Debug)]
struct Hinted {
    hint: String,
    error: anyhow::Error,
}

/// The user pressed Ctrl-C.
#[derive(Debug, Default, thiserror::Error)]
#[error("interrupted{}{left}", if left.is_empty() { "" } else { ": " })]
pub(crate) struct Interrupted {
    /// What that left, for people; empty where nothing was begun that could be left.
    left: String,
}

/// What was typed makes no sense together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Adds the next step to an error.
pub(crate) trait HintExt<T> {
    /// `hint` is a whole sentence without a period: what to do next.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { hint: hint.into(), error: error.into() }))
    }
}

/// Says what an interruption left.
pub(crate) trait InterruptedExt<T> {
    /// `left` is a clause without a period; other errors pass as they are.
    fn interrupted_leaves(self, left: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T> InterruptedExt<T> for anyhow::Result<T> {
    fn interrupted_leaves(self, left: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(
            |error| if error.is::<Interrupted>() { Interrupted { left: left() }.into() } else { error },
        )
    }
}

/// Prints an error and says which exit code it means.
pub(crate) fn report(error: &anyhow::Error, printer: &Printer) -> ExitStatus {
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        printer.note(&interrupted.to_string());
        return ExitStatus::Interrupted;
    }
    printer.error(&chain(error));
    if let Some(hint) = next_step(error) {
        printer.hint(&hint);
    }
    if error.is::<UsageError>() { ExitStatus::Usage } else { ExitStatus::Failure }
}

/// What to do about an error: its own hint, else one that the API server's refusal suggests.
pub(crate) fn next_step(error: &anyhow::Error) -> Option<String> {
    hint_of(error).or_else(|| api::hint(error))
}

/// The levels of an error, repeats dropped (kube's and clap's errors name their causes themselves). An API server's own words
/// are the last level.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for level in error.chain() {
        let said = api_message(level);
        let last = said.is_some();
        let level = said.unwrap_or_else(|| level.to_string());
        if text.is_empty() {
            text = level;
        } else if !text.contains(&level) {
            text = format!("{text}: {level}");
        }
        if last {
            break;
        }
    }
    text
}

/// What an API server said, without the client's wrapping.
fn api_message(level: &(dyn std::error::Error + 'static)) -> Option<String> {
    match level.downcast_ref::<kube::Error>()? {
        kube::Error::Api(status) => Some(status.message.clone()),
        _ => None,
    }
}

/// The innermost hint, else one that the error's kind suggests.
fn hint_of(error: &anyhow::Error) -> Option<String> {
    let mut found = None;
    for level in error.chain() {
        if let Some(hinted) = level.downcast_ref::<Hinted>() {
            found = Some(hinted.hint.clone());
            found = inner_hint(&hinted.error).or(found);
        }
    }
    found
}

fn inner_hint(error: &anyhow::Error) -> Option<String> {
    hint_of(error)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn failing() -> anyhow::Result<()> {
        Err(std::io::Error::other("disk full")).context("failed to write `x`")
    }

    #[test]
    fn each_level_once() {
        let error = failing().context("failed to deploy: failed to write `x`").expect_err("it fails");
        assert_eq!(chain(&error), "failed to deploy: failed to write `x`: disk full");
    }

    #[test]
    fn an_interruption_says_what_it_left() {
        let interrupted = || Err::<(), _>(anyhow::Error::from(Interrupted::default()));
        let error = interrupted().expect_err("it is one");
        assert_eq!(error.to_string(), "interrupted");
        let error = interrupted().interrupted_leaves(|| "a mess".into()).expect_err("it is one");
        assert_eq!(error.to_string(), "interrupted: a mess");
        let error = failing().interrupted_leaves(|| "a mess".into()).expect_err("it is another");
        assert_eq!(chain(&error), "failed to write `x`: disk full");
    }

    #[test]
    fn an_api_server_is_quoted_once() {
        let status = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let error = anyhow::Error::new(kube::Error::Api(Box::new(status))).context("failed to list pods");
        assert_eq!(chain(&error), "failed to list pods: pods is forbidden");
    }

    #[test]
    fn the_hint_survives_context() {
        let error = failing().hint("free some space").context("outer").expect_err("it fails");
        assert_eq!(hint_of(&error).as_deref(), Some("free some space"));
        assert_eq!(chain(&error), "outer: failed to write `x`: disk full");
    }
}
