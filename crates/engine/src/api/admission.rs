//! Admission: what the webhooks and built-in plugins of a cluster do between a request and the store.
//!
//! [`fill_in`] sets defaults; [`judge`] refuses, in the webhooks' own words.

use serde_json::Value;

use super::{
    catalog::Resource,
    error::{ApiError, Result},
};
use crate::store::Store;

mod core;
mod problem;
mod serving;
mod sources;
mod tekton;

use problem::Problems;

/// A write under review.
pub(crate) struct Review<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) store: &'a Store,
    /// Who writes.
    pub(crate) user: &'a str,
    /// The object before; `None` when it is new.
    pub(crate) old: Option<&'a Value>,
    /// Only the status is written.
    pub(crate) status: bool,
}

/// Sets defaults.
pub(crate) fn fill_in(review: &Review<'_>, new: &mut Value) {
    if review.status {
        return;
    }
    match review.resource.group {
        "serving.knative.dev" => serving::fill_in(review, new),
        "tekton.dev" => tekton::fill_in(review, new),
        "sources.knative.dev" => sources::fill_in(new),
        "" => core::fill_in(review, new),
        _ => {}
    }
}

/// Refuses what must not be.
pub(crate) fn judge(review: &Review<'_>, new: &Value) -> Result<()> {
    let (webhook, problems) = match review.resource.group {
        "serving.knative.dev" => ("validation.webhook.serving.knative.dev", serving::judge(review, new)),
        "tekton.dev" => ("validation.webhook.pipeline.tekton.dev", tekton::judge(review, new)),
        "sources.knative.dev" => ("validation.webhook.eventing.knative.dev", sources::judge(review, new)),
        "" => return core::judge(review, new),
        _ => return Ok(()),
    };
    deny(webhook, &problems)
}

fn deny(webhook: &str, problems: &Problems) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "admission webhook {webhook:?} denied the request: validation failed: {problems}"
    )))
}

/// The items of a list, or none.
fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The text of a field, or nothing.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a field is there and not the zero value of its type.
fn is_set(value: &Value, field: &str) -> bool {
    match value.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Number(number)) => number.as_i64() != Some(0),
        Some(Value::Bool(true)) => true,
    }
}

#[cfg(test)]
mod tests;
