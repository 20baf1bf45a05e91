//! Fewer pods only after a while (`scale-down-delay`): what counts is the most that was wanted lately.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Numbers of pods and when each was wanted last, more before fewer.
#[derive(Debug, Default)]
pub(super) struct SlowDown {
    wanted: VecDeque<(Instant, u32)>,
}

// === impl SlowDown ===

impl SlowDown {
    /// The pods there should be when `now` are wanted: the most of the last `delay`.
    pub(super) fn after(&mut self, now: u32, delay: Duration) -> u32 {
        while self.wanted.back().is_some_and(|(_, fewer)| *fewer <= now) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((Instant::now(), now));
        let over = |(last, _): &(Instant, u32)| last.elapsed() >= delay;
        while self.wanted.len() > 1 && self.wanted.front().is_some_and(over) {
            self.wanted.pop_front();
        }
        self.wanted.front().map_or(now, |(_, most)| *most)
    }
}
