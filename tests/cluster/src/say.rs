//! What a person sees: stages with their times, on stderr. Data goes to stdout.

use std::io::Write as _;

use anyhow::Result;
use tokio::time::Instant;

/// Times the stages of a command.
pub(crate) struct Stages {
    start: Instant,
}

/// A line for people.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told that nobody listens.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A line of data.
pub(crate) fn data(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

// === impl Stages ===

impl Stages {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Runs one stage and says how long it took and when it ended.
    pub(crate) async fn run<T>(&self, name: &str, stage: impl Future<Output = Result<T>>) -> Result<T> {
        let begin = Instant::now();
        let outcome = Box::pin(stage).await;
        let took = begin.elapsed().as_secs_f32();
        let (mark, total) =
            (if outcome.is_ok() { "" } else { " FAILED" }, self.start.elapsed().as_secs_f32());
        note(&format!("[{total:6.1} s] {name} ({took:.1} s){mark}"));
        outcome
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f32 {
        self.start.elapsed().as_secs_f32()
    }
}
