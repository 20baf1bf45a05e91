//! How long a caller's answer is waited for while it comes: all of it, and from one part to the next.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::autoscaler::Limits;

/// The time that is left to an answer. Most answers never wait, and cost no timer.
pub(super) struct Patience {
    end: Instant,
    idle: Option<Duration>,
    heard: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Patience ===

impl Patience {
    /// The pod has the request now.
    pub(super) fn from_now(limits: Limits) -> Self {
        let now = Instant::now();
        Self { end: now + limits.whole, idle: limits.idle, heard: now, timer: None }
    }

    /// A part came.
    pub(super) fn heard(&mut self) {
        if self.idle.is_some() {
            self.heard = Instant::now();
        }
    }

    /// Ready when the time is up.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.idle.map_or(self.end, |idle| self.end.min(self.heard + idle));
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn limits(whole: u64, idle: Option<u64>) -> Limits {
        let whole = Duration::from_secs(whole);
        Limits { whole, first_byte: whole, idle: idle.map(Duration::from_secs) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_whatever_is_heard() {
        let begun = Instant::now();
        let mut patience = Patience::from_now(limits(10, None));
        poll_fn(|cx| patience.poll_end(cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_sooner_and_each_part_gives_time() {
        let begun = Instant::now();
        let mut patience = Patience::from_now(limits(10, Some(3)));
        tokio::time::advance(Duration::from_secs(2)).await;
        patience.heard();
        poll_fn(|cx| patience.poll_end(cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
