//! The instant by which an invoke must have ended, as the runtime is told (LC-05, RT-17).

use jiff::Timestamp;

/// Wall-clock deadline of one invoke. Waiting itself is done on a monotonic clock; this is what is said aloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// `timeout` from `arrival`; beyond the end of time the end of time.
    pub fn after(arrival: Timestamp, timeout: std::time::Duration) -> Self {
        let span = jiff::SignedDuration::try_from(timeout).unwrap_or(jiff::SignedDuration::MAX);
        Self(arrival.checked_add(span).unwrap_or(Timestamp::MAX))
    }

    /// `Lambda-Runtime-Deadline-Ms`.
    pub fn unix_millis(self) -> i64 {
        self.0.as_millisecond()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_milliseconds_and_saturates() {
        let arrival = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let deadline = Deadline::after(arrival, std::time::Duration::from_millis(3_000));
        assert_eq!(deadline.unix_millis(), 1_700_000_003_123);
        assert_eq!(Deadline::after(arrival, std::time::Duration::MAX).unix_millis(), 253_402_207_200_999);
    }
}
