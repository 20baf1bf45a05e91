//! The only place that prints. A closed pipe is no reason to panic.

use std::io::Write;

/// A line of progress for the build's log.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line on stderr.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Something the user should know that is no error.
pub(crate) fn note(text: &str) {
    error(&format!("note: {text}"));
}

/// Logs warnings, or what `TM_LOG` says, to stderr.
pub(crate) fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TM_LOG").unwrap_or_else(|_| "warn".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time();
    let _ = log.try_init();
}
