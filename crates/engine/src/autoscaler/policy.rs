//! Knative's autoscaling annotations as numbers (`autoscaling.knative.dev/…`, defaults of `config-autoscaler`).

use std::{collections::BTreeMap, time::Duration};

use kube::ResourceExt;
use tm_resources::{labels::autoscaling, serving::Revision};

/// Requests a pod is meant to have at a time when nothing says otherwise.
const DEFAULT_TARGET: f64 = 100.0;
/// Part of the target that is aimed at.
const DEFAULT_UTILIZATION: f64 = 0.7;
/// Window of the average.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
/// Longest time a request waits for a pod and its answer.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// How a Revision scales.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Never fewer pods.
    pub min: u32,
    /// Never more pods; 0 is no limit.
    pub max: u32,
    /// Pods before the Revision was ever ready.
    pub initial: u32,
    /// Concurrency that one pod should have.
    pub target: f64,
    /// Window of the average.
    pub window: Duration,
    /// How long the last pod stays beyond the window.
    pub retention: Duration,
    /// Requests a pod may have at a time; 0 is no limit.
    pub concurrency: u32,
    /// Longest time of a request.
    pub timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min: 0,
            max: 0,
            initial: 1,
            target: DEFAULT_TARGET * DEFAULT_UTILIZATION,
            window: DEFAULT_WINDOW,
            retention: Duration::ZERO,
            concurrency: 0,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

// === impl Policy ===

impl Policy {
    /// Reads a Revision. What cannot be read was refused at admission; here it means the default.
    pub fn of(revision: &Revision) -> Self {
        let annotations = revision.annotations();
        let concurrency =
            revision.spec.container_concurrency.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let utilization = number::<f64>(annotations, autoscaling::TARGET_UTILIZATION)
            .map_or(DEFAULT_UTILIZATION, |percent| percent / 100.0);
        let hard = (concurrency > 0).then(|| f64::from(concurrency));
        let target = number::<f64>(annotations, autoscaling::TARGET);
        let target = match (target, hard) {
            (Some(target), Some(hard)) => target.min(hard),
            (target, hard) => target.or(hard).unwrap_or(DEFAULT_TARGET),
        };
        let seconds = revision.spec.timeout_seconds.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        Self {
            min: number(annotations, autoscaling::MIN_SCALE).unwrap_or(0),
            max: number(annotations, autoscaling::MAX_SCALE).unwrap_or(0),
            initial: number(annotations, autoscaling::INITIAL_SCALE).unwrap_or(1),
            target: (target * utilization).max(0.01),
            window: duration(annotations, autoscaling::WINDOW).unwrap_or(DEFAULT_WINDOW),
            retention: duration(annotations, autoscaling::RETENTION).unwrap_or_default(),
            concurrency,
            timeout: seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
        }
    }

    /// A number of pods within the limits.
    pub fn clamp(&self, pods: u32) -> u32 {
        let most = if self.max == 0 { u32::MAX } else { self.max };
        pods.max(self.min).min(most)
    }

    /// Pods before the Revision was ever ready.
    pub fn first(&self) -> u32 {
        self.clamp(self.initial.max(self.min))
    }
}

fn number<T: std::str::FromStr>(annotations: &BTreeMap<String, String>, key: &str) -> Option<T> {
    value(annotations, key)?.parse().ok()
}

fn duration(annotations: &BTreeMap<String, String>, key: &str) -> Option<Duration> {
    parse_duration(value(annotations, key)?)
}

/// The annotation under its name or under its older camelCase spelling (`minScale`), which Knative still accepts.
fn value<'a>(annotations: &'a BTreeMap<String, String>, key: &str) -> Option<&'a String> {
    annotations.get(key).or_else(|| {
        let (prefix, name) = key.split_once('/')?;
        let mut words = name.split('-');
        let mut camel = words.next()?.to_owned();
        for word in words {
            let (first, rest) = word.split_at(word.len().min(1));
            camel.push_str(&first.to_ascii_uppercase());
            camel.push_str(rest);
        }
        annotations.get(&format!("{prefix}/{camel}"))
    })
}

/// A duration as Go writes it, in whole seconds (`5s`, `1m30s`, `1h0m0s`).
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// A Go duration (`90s`, `1m30s`, `1h`, `500ms`); negative ones and other units are refused.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += amount
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "µs" => 0.000_001,
                "ns" => 0.000_000_001,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(pairs: &[(&str, &str)]) -> Revision {
        let mut revision = Revision::default();
        let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        revision.metadata.annotations = Some(annotations);
        revision
    }

    #[test]
    fn durations_as_go_writes_them() {
        let text = |seconds| duration_text(Duration::from_secs(seconds));
        assert_eq!((text(5).as_str(), text(600).as_str(), text(3600).as_str()), ("5s", "10m0s", "1h0m0s"));
    }

    #[test]
    fn annotations_are_read_in_both_spellings() {
        let policy = Policy::of(&revision(&[
            (autoscaling::MIN_SCALE, "2"),
            ("autoscaling.knative.dev/maxScale", "5"),
            (autoscaling::WINDOW, "1m30s"),
        ]));
        assert_eq!((policy.min, policy.max, policy.window), (2, 5, Duration::from_secs(90)));
        assert_eq!((policy.clamp(0), policy.clamp(9)), (2, 5));
    }

    #[test]
    fn one_request_a_pod() {
        let mut lambda = revision(&[]);
        lambda.spec.container_concurrency = Some(1);
        let policy = Policy::of(&lambda);
        assert_eq!(policy.concurrency, 1);
        assert!((policy.target - 0.7).abs() < 1e-9);
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h1m1s"), Some(Duration::from_secs(3661)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        for bad in ["", "5", "s", "-1s", "1d", "1.2.3s", "99999999999999999999h9"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
