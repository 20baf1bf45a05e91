//! Conditions as Knative and Tekton write them, and what a client concludes from them.
//!
//! Ready means `observedGeneration == generation` and the happy condition is True; a condition of an older
//! generation says nothing about this one (Knative: conventions for `status.observedGeneration`).

use serde::{Deserialize, Serialize};

/// One entry of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Succeeded`, `ConfigurationsReady`…
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Empty (an error), `Warning` or `Info`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub severity: String,
    /// A word for programs to show; clients decide on `status` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// RFC 3339; changes only when `status` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not decided yet.
    #[default]
    Unknown,
}

/// What a waiting client concludes from an object's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The happy condition is True for this generation.
    Ready,
    /// The happy condition is False for this generation.
    Failed {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
    /// Not decided; what to show while waiting.
    Waiting(String),
}

// === impl Condition ===

impl Condition {
    /// A condition without reason or message.
    pub fn new(type_: &str, status: ConditionStatus) -> Self {
        Self { type_: type_.into(), status, ..Self::default() }
    }

    /// The same condition with a reason and a message.
    #[must_use]
    pub fn because(mut self, reason: &str, message: &str) -> Self {
        self.reason = (!reason.is_empty()).then(|| reason.into());
        self.message = (!message.is_empty()).then(|| message.into());
        self
    }

    /// `Reason: message`, or what there is of it; once, where both say the same.
    pub fn text(&self) -> String {
        match (self.reason.as_deref(), self.message.as_deref()) {
            (Some(reason), Some(message)) if reason == message => reason.into(),
            (Some(reason), Some(message)) => format!("{reason}: {message}"),
            (Some(text), None) | (None, Some(text)) => text.into(),
            (None, None) => String::new(),
        }
    }
}

/// The condition of that type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Concludes from the happy condition `type_` of an object at `generation` whose status was written for `observed`.
/// Tekton's run objects carry no generation in every release: `None` skips that check.
pub fn verdict(
    conditions: &[Condition],
    type_: &str,
    generation: Option<i64>,
    observed: Option<i64>,
) -> Verdict {
    if let (Some(generation), observed) = (generation, observed.unwrap_or(0))
        && observed < generation
    {
        return Verdict::Waiting("waiting for the controller".into());
    }
    match find(conditions, type_) {
        None => Verdict::Waiting("waiting for the first status".into()),
        Some(condition) => match condition.status {
            ConditionStatus::True => Verdict::Ready,
            ConditionStatus::Unknown => Verdict::Waiting(condition.text()),
            ConditionStatus::False => Verdict::Failed {
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: ConditionStatus) -> Vec<Condition> {
        vec![Condition::new("Ready", status).because("RevisionFailed", "no image")]
    }

    #[test]
    fn an_older_generation_says_nothing() {
        let verdict = verdict(&ready(ConditionStatus::True), "Ready", Some(2), Some(1));
        assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
    }

    #[test]
    fn this_generation_decides() {
        assert_eq!(verdict(&ready(ConditionStatus::True), "Ready", Some(2), Some(2)), Verdict::Ready);
        assert_eq!(
            verdict(&ready(ConditionStatus::False), "Ready", Some(2), Some(2)),
            Verdict::Failed { reason: "RevisionFailed".into(), message: "no image".into() }
        );
    }

    #[test]
    fn no_condition_is_waiting() {
        assert!(matches!(verdict(&[], "Ready", Some(1), None), Verdict::Waiting(_)));
    }
}
