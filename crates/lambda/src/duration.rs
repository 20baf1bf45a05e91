//! Durations as Go writes them (`1h2m`, `300ms`, `1.5s`) and plain integers of seconds (CE-26).

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as `10s`, `1m30s` or `500ms`, or a whole number of seconds")]
pub struct InvalidDuration;

/// Units of Go's `time.ParseDuration`, in nanoseconds. Longer names come first where one begins with another.
const UNITS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a Go duration or a plain integer of seconds. Negative durations are refused: nothing of ours waits backwards.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_| InvalidDuration);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while let Some((part, tail)) = one_part(rest) {
        nanos = nanos.checked_add(part).ok_or(InvalidDuration)?;
        rest = tail;
    }
    if text.is_empty() || !rest.is_empty() {
        return Err(InvalidDuration);
    }
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| InvalidDuration)
}

/// One `1.5h`: its nanoseconds and what follows it.
fn one_part(text: &str) -> Option<(u128, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(number_end);
    let (unit, rest) = UNITS.iter().find_map(|(name, nanos)| rest.strip_prefix(name).map(|r| (*nanos, r)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some((whole.checked_mul(unit)?.checked_add(fraction_of(fraction, unit)?)?, rest))
}

/// `.25` of a unit. Digits beyond the nanosecond of an hour are cut, as in Go.
fn fraction_of(digits: &str, unit: u128) -> Option<u128> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = &digits[..digits.len().min(18)];
    if digits.is_empty() {
        return Some(0);
    }
    let value: u128 = digits.parse().ok()?;
    let scale = 10u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    Some(value * unit / scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads_and_plain_seconds() {
        for (text, millis) in [
            ("10s", 10_000),
            ("10", 10_000),
            ("0", 0),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("300ms", 300),
            ("+2s", 2_000),
            ("2000us", 2),
            ("2000\u{b5}s", 2),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "s", "10x", "-1s", "1s2", "1..2s", ".s", "10 s", "99999999999999999999h", "1.2"] {
            assert_eq!(parse(text), Err(InvalidDuration), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_back_milliseconds(millis in 0u64..1_000_000_000) {
            prop_assert_eq!(parse(&format!("{millis}ms")), Ok(Duration::from_millis(millis)));
        }
    }
}
