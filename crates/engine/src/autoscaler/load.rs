//! Requests over time: how many were inside, and how many came in a second, averaged over the last seconds.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::policy::Metric;

/// Longest window that is kept, in ticks of a second (Knative: at most 1 h).
const KEEP: usize = 3600;

/// Figures of one Revision.
#[derive(Debug)]
pub(super) struct Load {
    inside: u32,
    /// Request-seconds since the last tick.
    area: f64,
    changed: Instant,
    ticked: Instant,
    /// When the last request left or the figures began.
    active: Instant,
    /// Requests since the last tick.
    came: u32,
    /// Past ticks, newest last.
    ticks: VecDeque<Tick>,
}

/// Averages over a tick.
#[derive(Clone, Copy, Debug)]
struct Tick {
    /// Requests at a time.
    inside: f64,
    /// Requests in a second.
    came: f64,
}

// === impl Load ===

impl Load {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { inside: 0, area: 0.0, changed: now, ticked: now, active: now, came: 0, ticks: VecDeque::new() }
    }

    pub(super) fn enter(&mut self) {
        self.advance();
        self.inside += 1;
        self.came = self.came.saturating_add(1);
    }

    pub(super) fn leave(&mut self) {
        self.advance();
        self.inside = self.inside.saturating_sub(1);
        self.active = self.changed;
    }

    /// Begins anew: idle time counts from now.
    pub(super) fn touch(&mut self) {
        self.active = Instant::now();
    }

    pub(super) fn inside(&self) -> u32 {
        self.inside
    }

    fn advance(&mut self) {
        let now = Instant::now();
        self.area += f64::from(self.inside) * (now - self.changed).as_secs_f64();
        self.changed = now;
    }

    /// Closes a tick.
    pub(super) fn tick(&mut self) {
        self.advance();
        let length = (self.changed - self.ticked).as_secs_f64();
        let inside = if length > 0.0 { self.area / length } else { f64::from(self.inside) };
        let came = f64::from(std::mem::take(&mut self.came)) / length.max(1.0);
        self.area = 0.0;
        self.ticked = self.changed;
        self.ticks.push_back(Tick { inside, came });
        if self.ticks.len() > KEEP {
            self.ticks.pop_front();
        }
    }

    /// Average over the last `window`, or over what there is of it.
    pub(super) fn average(&self, metric: Metric, window: Duration) -> f64 {
        let count = usize::try_from(window.as_secs().max(1)).unwrap_or(KEEP).min(self.ticks.len());
        if count == 0 {
            return f64::from(if metric == Metric::Rps { self.came } else { self.inside });
        }
        let of = |tick: &Tick| if metric == Metric::Rps { tick.came } else { tick.inside };
        let newest = self.ticks.iter().rev().take(count).map(of);
        newest.sum::<f64>() / f64::from(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Time since the last request left; zero while one is inside.
    pub(super) fn idle(&self) -> Duration {
        if self.inside > 0 { Duration::ZERO } else { self.active.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn averages() {
        let mut load = Load::new();
        load.enter();
        load.enter();
        tokio::time::advance(Duration::from_secs(1)).await;
        load.tick();
        load.leave();
        load.leave();
        tokio::time::advance(Duration::from_secs(1)).await;
        load.tick();
        let average = |metric, seconds| load.average(metric, Duration::from_secs(seconds));
        assert!((average(Metric::Concurrency, 2) - 1.0).abs() < 1e-6);
        assert!(average(Metric::Concurrency, 1).abs() < 1e-6);
        assert!((average(Metric::Rps, 2) - 1.0).abs() < 1e-6);
        assert_eq!(load.idle(), Duration::from_secs(1));
    }
}
