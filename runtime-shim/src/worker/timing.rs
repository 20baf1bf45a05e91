//! Where the time of an invoke goes, for those who look: subscribers, and logs in JSON (section 5.6).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tm_lambda::telemetry::Span;
use tokio::time::Instant;

/// What happened when, in one invoke.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    began: Instant,
    /// The runtime begins to answer.
    first: Option<Instant>,
    /// It has answered.
    sent: Option<Instant>,
    /// It has asked for the next event.
    done: Option<Instant>,
    produced_bytes: Option<u64>,
}

// === impl Timing ===

impl Timing {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), first: None, sent: None, done: None, produced_bytes: None }
    }

    /// The answer begins to arrive.
    pub(super) fn answering(&mut self) {
        self.first.get_or_insert_with(Instant::now);
    }

    /// The answer is there.
    pub(super) fn answered(&mut self, bytes: u64) {
        self.sent = Some(Instant::now());
        self.produced_bytes = Some(bytes);
    }

    /// The runtime's part is over, well or not.
    pub(super) fn done(&mut self) {
        self.done.get_or_insert_with(Instant::now);
    }

    /// Whether it is.
    pub(super) fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// The size of the answer, if there was one.
    pub(super) fn produced_bytes(&self) -> Option<u64> {
        self.produced_bytes
    }

    /// The runtime's part.
    pub(super) fn duration(&self) -> Duration {
        self.done.unwrap_or_else(Instant::now) - self.began
    }

    /// What its part consisted of.
    pub(super) fn spans(&self) -> Vec<Span> {
        let stretches = [
            ("responseLatency", Some(self.began), self.first),
            ("responseDuration", self.first, self.sent),
            ("runtimeOverhead", self.sent, self.done),
        ];
        stretches.into_iter().filter_map(|(name, from, to)| span(name, from?, to?)).collect()
    }

    /// What extensions needed beyond it.
    pub(super) fn extension_overhead(&self) -> Option<Span> {
        span("extensionOverhead", self.done?, Instant::now())
    }
}

fn span(name: &'static str, from: Instant, to: Instant) -> Option<Span> {
    let ago = SignedDuration::try_from(from.elapsed()).ok()?;
    let start = Timestamp::now().checked_sub(ago).ok()?;
    Some(Span { name, start, duration: to.saturating_duration_since(from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn spans_follow_each_other() {
        let mut timing = Timing::start();
        let wait = |millis| tokio::time::advance(Duration::from_millis(millis));
        wait(5).await;
        timing.answering();
        wait(2).await;
        timing.answered(9);
        wait(1).await;
        timing.done();
        wait(4).await;
        let length = |span: &Span| (span.name, span.duration.as_millis());
        let lengths: Vec<(&str, u128)> = timing.spans().iter().map(length).collect();
        assert_eq!(lengths, [("responseLatency", 5), ("responseDuration", 2), ("runtimeOverhead", 1)]);
        assert_eq!(timing.duration(), Duration::from_millis(8));
        assert_eq!(length(&timing.extension_overhead().unwrap()), ("extensionOverhead", 4));
        assert_eq!(Timing::start().spans(), []);
    }
}
