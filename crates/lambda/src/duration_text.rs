//! Durations as log lines and payloads print them: two decimals, rounded half up (LG-06, LC-15).

use std::time::Duration;

/// Hundredths of a millisecond, rounded half up.
pub(crate) fn hundredths_of_millis(duration: Duration) -> u128 {
    (duration.as_nanos() + 5_000) / 10_000
}

/// `152.47`, in milliseconds.
pub(crate) fn millis(duration: Duration) -> String {
    two_decimals(hundredths_of_millis(duration))
}

/// `3.00`, in seconds.
pub(crate) fn seconds(duration: Duration) -> String {
    two_decimals((duration.as_millis() + 5) / 10)
}

fn two_decimals(hundredths: u128) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_decimals_half_up() {
        assert_eq!(millis(Duration::from_micros(152_474)), "152.47");
        assert_eq!(millis(Duration::from_micros(152_475)), "152.48");
        assert_eq!(millis(Duration::ZERO), "0.00");
        assert_eq!(seconds(Duration::from_millis(2_996)), "3.00");
        assert_eq!(seconds(Duration::from_secs(900)), "900.00");
    }
}
