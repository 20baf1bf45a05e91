//! Knative's autoscaling annotations as numbers (`autoscaling.knative.dev/…`, defaults of `config-autoscaler`).

use std::{collections::BTreeMap, time::Duration};

use kube::ResourceExt;
use serde_json::Value;
use tm_resources::{labels::autoscaling, serving::Revision};

use crate::go_duration;

/// Requests a pod is meant to have at a time when nothing says otherwise.
const DEFAULT_TARGET: f64 = 100.0;
/// Requests a pod is meant to get in a second.
const DEFAULT_RPS: f64 = 200.0;
/// Part of the target that is aimed at.
const DEFAULT_UTILIZATION: f64 = 0.7;
/// Window of the average.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
/// Longest time a request waits for a pod and its answer.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// What the target is a number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests at a time.
    Concurrency,
    /// Requests in a second.
    Rps,
}

/// How a Revision scales.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Never fewer pods.
    pub min: u32,
    /// Never more pods; 0 is no limit.
    pub max: u32,
    /// Pods before the Revision was ever ready.
    pub initial: u32,
    /// Pods there are at least when there are any.
    pub activation: u32,
    /// What is counted.
    pub metric: Metric,
    /// How much of it one pod should have.
    pub target: f64,
    /// Window of the average.
    pub window: Duration,
    /// How long the last pod stays beyond the window.
    pub retention: Duration,
    /// How long fewer pods must have been enough before there are fewer.
    pub delay: Duration,
    /// Requests a pod may have at a time; 0 is no limit.
    pub concurrency: u32,
    /// Longest time of a request.
    pub timeout: Duration,
    /// Longest time until the answer begins.
    pub first_byte: Duration,
    /// Longest time without a part of the answer.
    pub idle: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min: 0,
            max: 0,
            initial: 1,
            activation: 0,
            metric: Metric::Concurrency,
            target: DEFAULT_TARGET * DEFAULT_UTILIZATION,
            window: DEFAULT_WINDOW,
            retention: Duration::ZERO,
            delay: Duration::ZERO,
            concurrency: 0,
            timeout: DEFAULT_TIMEOUT,
            first_byte: DEFAULT_TIMEOUT,
            idle: None,
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
        let metric = match value(annotations, autoscaling::METRIC).map(String::as_str) {
            Some("rps") => Metric::Rps,
            _ => Metric::Concurrency,
        };
        // What only Kubernetes' autoscaler can measure, this one cannot: it never goes to zero, as that one.
        let hpa = is_hpa(revision);
        let scale = |key| number(annotations, key);
        let seconds = |n: Option<i64>| {
            n.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_secs)
        };
        let other = |field: &str| seconds(revision.spec.other.get(field).and_then(Value::as_i64));
        let timeout = seconds(revision.spec.timeout_seconds).unwrap_or(DEFAULT_TIMEOUT);
        Self {
            min: scale(autoscaling::MIN_SCALE).unwrap_or(0).max(u32::from(hpa)),
            max: scale(autoscaling::MAX_SCALE).unwrap_or(0),
            initial: scale(autoscaling::INITIAL_SCALE).unwrap_or(1),
            activation: scale(autoscaling::ACTIVATION_SCALE).unwrap_or(0),
            metric,
            target: target(annotations, metric, concurrency, hpa),
            window: duration(annotations, autoscaling::WINDOW).unwrap_or(DEFAULT_WINDOW),
            retention: duration(annotations, autoscaling::RETENTION).unwrap_or_default(),
            delay: duration(annotations, autoscaling::SCALE_DOWN_DELAY).unwrap_or_default(),
            concurrency,
            timeout,
            first_byte: other("responseStartTimeoutSeconds").map_or(timeout, |first| first.min(timeout)),
            idle: other("idleTimeoutSeconds"),
        }
    }

    /// A number of pods within the limits.
    pub fn clamp(&self, pods: u32) -> u32 {
        let most = if self.max == 0 { u32::MAX } else { self.max };
        let active = if pods == 0 { 0 } else { self.activation };
        pods.max(active).max(self.min).min(most)
    }

    /// Pods before the Revision was ever ready.
    pub fn first(&self) -> u32 {
        self.clamp(self.initial.max(self.min))
    }
}

/// Whether Kubernetes' autoscaler is asked for, which is not here.
pub(crate) fn is_hpa(revision: &Revision) -> bool {
    value(revision.annotations(), autoscaling::CLASS).is_some_and(|class| class == autoscaling::HPA)
}

/// What one pod should have: the part that is aimed at of what it may have.
fn target(annotations: &BTreeMap<String, String>, metric: Metric, concurrency: u32, hpa: bool) -> f64 {
    let percent = number::<f64>(annotations, autoscaling::TARGET_UTILIZATION);
    let utilization = percent.map_or(DEFAULT_UTILIZATION, |percent| percent / 100.0);
    // With that autoscaler it is a share of a processor.
    let given = number::<f64>(annotations, autoscaling::TARGET).filter(|_| !hpa);
    let hard = (concurrency > 0).then(|| f64::from(concurrency));
    let target = match (metric, given, hard) {
        (Metric::Rps, given, _) => given.unwrap_or(DEFAULT_RPS),
        (Metric::Concurrency, Some(given), Some(hard)) => given.min(hard),
        (Metric::Concurrency, given, hard) => given.or(hard).unwrap_or(DEFAULT_TARGET),
    };
    (target * utilization).max(0.01)
}

fn number<T: std::str::FromStr>(annotations: &BTreeMap<String, String>, key: &str) -> Option<T> {
    value(annotations, key)?.parse().ok()
}

fn duration(annotations: &BTreeMap<String, String>, key: &str) -> Option<Duration> {
    go_duration::parse(value(annotations, key)?)
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
    fn defaults_are_those_of_config_autoscaler() {
        let policy = Policy::of(&revision(&[]));
        assert_eq!(policy, Policy::default());
        assert_eq!((policy.min, policy.max, policy.initial, policy.activation), (0, 0, 1, 0));
        assert!((policy.target - 70.0).abs() < 1e-9);
        let seconds =
            [policy.window, policy.retention, policy.delay, policy.timeout].map(|time| time.as_secs());
        assert_eq!(seconds, [60, 0, 0, 300]);
    }

    #[test]
    fn requests_in_a_second() {
        let policy = Policy::of(&revision(&[(autoscaling::METRIC, "rps")]));
        assert_eq!((policy.metric, policy.target.round()), (Metric::Rps, 140.0));
        let policy = Policy::of(&revision(&[(autoscaling::METRIC, "rps"), (autoscaling::TARGET, "10")]));
        assert_eq!(policy.target.round(), 7.0);
    }

    #[test]
    fn kubernetes_own_autoscaler_keeps_one() {
        let hpa = [
            (autoscaling::CLASS, autoscaling::HPA),
            (autoscaling::METRIC, "cpu"),
            (autoscaling::TARGET, "80"),
        ];
        let policy = Policy::of(&revision(&hpa));
        assert_eq!((policy.min, policy.metric, policy.target.round()), (1, Metric::Concurrency, 70.0));
    }

    #[test]
    fn some_or_none() {
        let policy = Policy::of(&revision(&[(autoscaling::ACTIVATION_SCALE, "3")]));
        assert_eq!([0, 1, 5].map(|pods| policy.clamp(pods)), [0, 3, 5]);
    }

    #[test]
    fn times_of_a_request() {
        let mut slow = revision(&[]);
        slow.spec.timeout_seconds = Some(100);
        assert_eq!(Policy::of(&slow).first_byte, Duration::from_secs(100));
        slow.spec.other.insert("responseStartTimeoutSeconds".into(), 7.into());
        slow.spec.other.insert("idleTimeoutSeconds".into(), 3.into());
        let policy = Policy::of(&slow);
        assert_eq!((policy.first_byte.as_secs(), policy.idle), (7, Some(Duration::from_secs(3))));
    }

    #[test]
    fn one_request_a_pod() {
        let mut lambda = revision(&[]);
        lambda.spec.container_concurrency = Some(1);
        let policy = Policy::of(&lambda);
        assert_eq!(policy.concurrency, 1);
        assert!((policy.target - 0.7).abs() < 1e-9);
    }
}
