//! Autoscaling annotations of a revision template.

use serde_json::Value;

use super::Problems;
use crate::go_duration;

const PREFIX: &str = "autoscaling.knative.dev/";
const KPA: &str = "kpa.autoscaling.knative.dev";
const HPA: &str = "hpa.autoscaling.knative.dev";
/// Longest window and delay, in seconds.
const MAX_WINDOW: f64 = 3600.0;

/// Numbers with bounds: the two spellings of a key, and the bounds as the messages print them.
const BOUNDED: &[([&str; 2], f64, f64)] = &[
    (["panic-window-percentage", "panicWindowPercentage"], 1.0, 100.0),
    (["panic-threshold-percentage", "panicThresholdPercentage"], 110.0, 1000.0),
    (["target-utilization-percentage", "targetUtilizationPercentage"], 1.0, 100.0),
];

struct Annotations<'a>(Option<&'a Value>);

/// What is wrong with the annotations.
pub(super) fn judge(annotations: Option<&Value>) -> Problems {
    let all = Annotations(annotations);
    let mut problems = class_and_metric(&all);
    problems.add(scales(&all));
    for (names, low, high) in BOUNDED {
        if let Some((key, value)) = all.get(*names) {
            problems.add(bounded(&key, value, *low, *high));
        }
    }
    if let Some((key, value)) = all.get(["target", "target"]) {
        problems.add(match value.parse::<f64>() {
            Err(_) => Problems::invalid(value, &key),
            Ok(target) if target < 0.01 => {
                Problems::of(format!("target {value} should be at least 0.01"), &[&key])
            }
            Ok(_) => Problems::none(),
        });
    }
    if let Some((key, value)) = all.get(["target-burst-capacity", "targetBurstCapacity"])
        && !value.parse::<f64>().is_ok_and(|n| n >= 0.0 || n == -1.0)
    {
        problems.add(Problems::invalid(value, &key));
    }
    problems.add(durations(&all));
    problems
}

fn class_and_metric(all: &Annotations<'_>) -> Problems {
    let mut problems = Problems::none();
    let class = all.get(["class", "class"]);
    if let Some((key, value)) = &class
        && value.ends_with(".knative.dev")
        && ![KPA, HPA].contains(value)
    {
        problems.add(Problems::invalid(value, key));
    }
    if let Some((key, metric)) = all.get(["metric", "metric"]) {
        let good = match class.map_or(KPA, |(_, class)| class) {
            KPA => matches!(metric, "concurrency" | "rps"),
            HPA => !metric.is_empty(),
            _ => true,
        };
        if !good {
            problems.add(Problems::invalid(metric, &key));
        }
    }
    problems
}

fn scales(all: &Annotations<'_>) -> Problems {
    let mut problems = Problems::none();
    let mut whole = |names: [&'static str; 2]| match all.get(names).map(|(key, value)| count(&key, value)) {
        None => 0,
        Some(Ok(number)) => number,
        Some(Err(problem)) => {
            problems.add(problem);
            0
        }
    };
    let min = whole(["min-scale", "minScale"]);
    let max = whole(["max-scale", "maxScale"]);
    if max != 0 && max < min {
        let paths = [format!("{PREFIX}max-scale"), format!("{PREFIX}min-scale")];
        let message = format!("max-scale={max} is less than min-scale={min}");
        problems.add(Problems::of(message, &[&paths[0], &paths[1]]));
    }
    if let Some((key, value)) = all.get(["initial-scale", "initialScale"]) {
        problems.add(match value.parse::<i32>() {
            Err(_) => Problems::invalid(value, &key),
            Ok(n) if n < 0 => Problems::invalid(value, &format!("{key} must be greater than 0")),
            Ok(0) => Problems::invalid(value, &format!("{key}=0 not allowed by cluster")),
            Ok(_) => Problems::none(),
        });
    }
    if let Some((key, value)) = all.get(["activation-scale", "activationScale"]) {
        problems.add(match value.parse::<i32>() {
            Err(_) => Problems::invalid(value, &key),
            Ok(n) if n < 2 => Problems::of(format!("activation-scale={n} must be greater than 1"), &[&key]),
            Ok(_) => Problems::none(),
        });
    }
    problems
}

fn durations(all: &Annotations<'_>) -> Problems {
    let mut problems = Problems::none();
    let checks = [
        (["window", "window"], 6.0, "6s", true),
        (["scale-down-delay", "scaleDownDelay"], 0.0, "0s", true),
        (["scale-to-zero-pod-retention-period", "scaleToZeroPodRetentionPeriod"], 0.0, "0s", false),
    ];
    for (names, low, low_text, whole) in checks {
        let Some((key, value)) = all.get(names) else { continue };
        problems.add(match go_duration::seconds(value) {
            None => Problems::invalid(value, &key),
            Some(d) if d < low || d > MAX_WINDOW => Problems::out_of_bounds(value, low_text, "1h0m0s", &key),
            Some(d) if whole && d.fract() != 0.0 => {
                Problems::of("must be specified with at most second precision", &[&key])
            }
            Some(_) => Problems::none(),
        });
    }
    problems
}

fn count(key: &str, value: &str) -> Result<i32, Problems> {
    match value.parse::<i64>() {
        Err(_) => Err(Problems::invalid(value, key)),
        Ok(n) if !(0..=i64::from(i32::MAX)).contains(&n) => {
            Err(Problems::out_of_bounds(value, 0, i32::MAX, key))
        }
        Ok(n) => Ok(i32::try_from(n).unwrap_or(i32::MAX)),
    }
}

fn bounded(key: &str, value: &str, low: f64, high: f64) -> Problems {
    match value.parse::<f64>() {
        Err(_) => Problems::invalid(value, key),
        Ok(n) if n < low || n > high => Problems::out_of_bounds(value, low, high, key),
        Ok(_) => Problems::none(),
    }
}

// === impl Annotations ===

impl<'a> Annotations<'a> {
    /// The first spelling that is there, as written, and its value.
    fn get(&self, names: [&str; 2]) -> Option<(String, &'a str)> {
        let annotations = self.0?.as_object()?;
        names.iter().find_map(|name| {
            let key = format!("{PREFIX}{name}");
            let value = annotations.get(&key)?.as_str()?;
            Some((key, value))
        })
    }
}
