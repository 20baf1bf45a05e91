//! Questions on the terminal. They block a thread, so they run beside the story, which Ctrl-C can end meanwhile: then the
//! terminal gets back the settings it had (echo, line mode), which the abandoned question changed.

use std::io::{self, IsTerminal, Stdin, Write};

use anyhow::{Context, Result};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::error::{Interrupted, UsageError};

/// The settings of the terminal at the beginning; they are restored when this is dropped.
struct Terminal {
    input: Stdin,
    before: Option<Termios>,
}

/// Asks. Must be the only one that reads from stdin.
///
/// # Errors
/// What `ask` fails with; [`Interrupted`] when the user pressed Ctrl-C at a question that reads key by key.
///
/// # Cancel safety
/// The thread stays blocked until the process ends; the terminal is restored.
pub(super) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let terminal = Terminal::save();
    let answer = tokio::task::spawn_blocking(ask).await.context("the question was ended")?;
    drop(terminal);
    answer.map_err(|error| if was_interrupted(&error) { Interrupted::default().into() } else { error })
}

/// Asks on stderr for a line that the terminal does not show. The echo ends before the question appears, and nothing
/// typed is discarded: a quick (or pasted) answer is neither seen nor lost.
///
/// # Errors
/// [`UsageError`] when the answer is empty; what reading from stdin fails with.
pub(super) fn secret(question: &str) -> Result<String> {
    let terminal = Terminal::save();
    terminal.hide().context("failed to turn the terminal's echo off")?;
    let mut shown = io::stderr();
    write!(shown, "{question}: ")?;
    shown.flush()?;
    let mut answer = String::new();
    let read = terminal.input.read_line(&mut answer);
    // The user's own line end was not shown either.
    writeln!(shown)?;
    read.with_context(|| format!("failed to read the {}", question.to_lowercase()))?;
    let answer = answer.trim_end_matches(['\r', '\n']);
    if answer.is_empty() {
        return Err(UsageError(format!("the {} is empty", question.to_lowercase())).into());
    }
    Ok(answer.into())
}

/// The prompts' way to report Ctrl-C.
fn was_interrupted(error: &anyhow::Error) -> bool {
    let kind = |level: &(dyn std::error::Error + 'static)| match level.downcast_ref::<dialoguer::Error>() {
        Some(dialoguer::Error::IO(error)) => Some(error.kind()),
        None => level.downcast_ref::<io::Error>().map(io::Error::kind),
    };
    error.chain().any(|level| kind(level) == Some(io::ErrorKind::Interrupted))
}

// === impl Terminal ===

impl Terminal {
    fn save() -> Self {
        let input = io::stdin();
        let before = input.is_terminal().then(|| tcgetattr(&input).ok()).flatten();
        Self { input, before }
    }

    /// Ends the echo; what waits to be read stays.
    fn hide(&self) -> io::Result<()> {
        let Some(mut settings) = self.before.clone() else { return Ok(()) };
        settings.local_flags.remove(LocalFlags::ECHO);
        Ok(tcsetattr(&self.input, SetArg::TCSANOW, &settings)?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(&self.input, SetArg::TCSANOW, before);
        }
    }
}
