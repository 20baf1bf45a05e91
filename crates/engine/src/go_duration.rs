//! Durations as Go writes them (`1h30m`, `1.5s`, `-2m`): in annotations, time-outs and messages.

use std::time::Duration;

/// A duration in seconds.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    let mut total = 0.0;
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number * unit_of(&rest[..unit])?;
        rest = &rest[unit..];
        any = true;
    }
    any.then_some(sign * total)
}

fn unit_of(text: &str) -> Option<f64> {
    Some(match text {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

/// A duration that is not negative.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds(text)?).ok()
}

/// A duration in whole seconds (`5s`, `1m30s`, `1h0m0s`).
pub(crate) fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads() {
        for (text, wanted) in [("1h0m0s", 3600.0), ("90s", 90.0), ("1.5s", 1.5), ("-2m", -120.0), ("0", 0.0)]
        {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for bad in ["", "5", "s", "1d", "1..s", "1 s", "h1", "1.2.3s"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse("1h1m1s"), Some(Duration::from_secs(3661)));
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("0"), Some(Duration::ZERO));
        for bad in ["-1s", "99999999999999999999h9", "99999999999999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_go_writes() {
        let text = |seconds| text(Duration::from_secs(seconds));
        assert_eq!((text(5).as_str(), text(600).as_str(), text(3600).as_str()), ("5s", "10m0s", "1h0m0s"));
    }
}
