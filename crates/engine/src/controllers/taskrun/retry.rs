//! `spec.retries`: a run that failed begins anew, and its past goes to `status.retriesStatus`, as Tekton has it.

use serde_json::Value;
use tm_resources::{
    Condition, ConditionStatus,
    condition::find,
    tekton::{TaskRun, TaskRunStatus},
};

use super::set;

/// Reasons another attempt would end with as well.
const FINAL: &[&str] = &["TaskRunResultLargerThanAllowedLimit", "TaskRunCancelled"];

/// Attempts that were made before this one.
pub(super) fn made(status: &TaskRunStatus) -> usize {
    status.other.get("retriesStatus").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Whether a failed run has another attempt.
pub(super) fn left(run: &TaskRun, status: &TaskRunStatus) -> bool {
    let wanted = run.spec.other.get("retries").and_then(Value::as_u64).unwrap_or(0);
    let reason = find(&status.conditions, "Succeeded").and_then(|condition| condition.reason.as_deref());
    let hopeless = reason.is_some_and(|reason| FINAL.contains(&reason));
    !hopeless && u64::try_from(made(status)).is_ok_and(|made| made < wanted)
}

/// Puts the failed attempt aside. The next reconciliation begins the next one.
pub(super) fn begin(status: &mut TaskRunStatus, failed: &Condition) {
    let mut past = std::mem::take(status);
    let mut list = match past.other.remove("retriesStatus") {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let spec = past.task_spec.take();
    past.conditions = vec![failed.clone()];
    past.completion_time.get_or_insert_with(super::now);
    // A status is plain data; one that cannot be written still counts as an attempt.
    list.push(serde_json::to_value(&past).unwrap_or(Value::Null));
    status.task_spec = spec;
    status.other = past.other;
    status.other.insert("retriesStatus".into(), list.into());
    let message = failed.message.clone().unwrap_or_default();
    set(status, ConditionStatus::Unknown, "ToBeRetried", &message);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attempts_are_counted() {
        let mut run = TaskRun::default();
        run.spec.other.insert("retries".into(), json!(1));
        let mut status = TaskRunStatus { pod_name: Some("a-pod".into()), ..TaskRunStatus::default() };
        assert!(left(&run, &status));
        let failed = Condition::new("Succeeded", ConditionStatus::False).because("StepFailed", "boom");
        begin(&mut status, &failed);
        assert_eq!((made(&status), status.pod_name.as_deref()), (1, None));
        assert_eq!(status.other["retriesStatus"][0]["podName"], "a-pod");
        assert_eq!(status.conditions[0].text(), "ToBeRetried: boom");
        assert!(!left(&run, &status));
    }
}
