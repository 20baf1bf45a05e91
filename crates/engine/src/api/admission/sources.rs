//! Eventing's webhook: PingSource.

use base64::{DecodeError, Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Problems, Review, is_set, text};
use crate::{
    api::object,
    schedule::{Schedule, ScheduleError},
};

/// What a PingSource without a schedule has.
const SCHEDULE: &str = "* * * * *";
const JSON: &str = "application/json";

/// Sets defaults.
pub(super) fn fill_in(new: &mut Value) {
    let spec = object::child_mut(new, "spec");
    if spec.get("schedule").and_then(Value::as_str).unwrap_or_default().is_empty() {
        spec.insert("schedule".into(), SCHEDULE.into());
    }
}

/// What the webhook finds wrong.
pub(super) fn judge(review: &Review<'_>, new: &Value) -> Problems {
    if review.status {
        return Problems::none();
    }
    let spec = &new["spec"];
    let mut problems = schedule(spec);
    problems.add(sink(&spec["sink"]).under("sink"));
    problems.add(data(spec));
    problems.add(extensions(&spec["ceOverrides"]).under("extensions").under("ceOverrides"));
    problems.under("spec")
}

fn schedule(spec: &Value) -> Problems {
    let schedule = text(spec, "schedule");
    if schedule.contains("@every") {
        return Problems::invalid("unsupported descriptor @every", "schedule");
    }
    match Schedule::parse(schedule, Some(text(spec, "timezone"))) {
        Ok(_) => Problems::none(),
        Err(error @ ScheduleError::Zone(_)) => Problems::invalid(error, "timezone"),
        Err(error @ ScheduleError::Pattern(_)) => Problems::invalid(error, "schedule"),
    }
}

fn sink(sink: &Value) -> Problems {
    let (reference, uri) = (sink.get("ref"), sink.get("uri").and_then(Value::as_str));
    match (reference, uri) {
        (None, None) => Problems::of("expected at least one, got none", &["ref", "uri"]),
        (Some(_), Some(uri)) if scheme_of(uri).is_some() => Problems::of(
            "Absolute URI is not allowed when Ref or [apiVersion, kind, name] is present",
            &["[apiVersion, kind, name]", "ref", "uri"],
        ),
        (None, Some(uri)) if !is_address(uri) => Problems::invalid(
            "Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent",
            "uri",
        ),
        (Some(reference), None) => {
            let mut problems = Problems::none();
            for field in ["name", "apiVersion", "kind"] {
                if !is_set(reference, field) {
                    problems.add(Problems::missing(field));
                }
            }
            problems.under("ref")
        }
        _ => Problems::none(),
    }
}

/// Whether it has a scheme and a host.
fn is_address(uri: &str) -> bool {
    let host = scheme_of(uri).and_then(|scheme| uri[scheme.len() + 1..].strip_prefix("//"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
}

fn scheme_of(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let word = scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (word && scheme.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(scheme)
}

fn data(spec: &Value) -> Problems {
    let json = text(spec, "contentType") == JSON;
    match (text(spec, "data"), text(spec, "dataBase64")) {
        ("", "") => Problems::none(),
        (data, "") => object_problem(data.as_bytes())
            .filter(|_| json)
            .map_or_else(Problems::none, |why| Problems::invalid(why, "data")),
        ("", encoded) => match BASE64_STANDARD.decode(encoded) {
            Err(error) => {
                let at = match error {
                    DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
                    DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => encoded.len(),
                };
                Problems::invalid(format!("illegal base64 data at input byte {at}"), "dataBase64")
            }
            Ok(data) => object_problem(&data)
                .filter(|_| json)
                .map_or_else(Problems::none, |why| Problems::invalid(why, "dataBase64")),
        },
        _ => Problems::both(&["data", "dataBase64"]),
    }
}

/// Why data is no JSON object.
fn object_problem(data: &[u8]) -> Option<String> {
    let kind = match serde_json::from_slice(data) {
        Ok(Value::Object(_) | Value::Null) => return None,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(error) => return Some(error.to_string()),
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

fn extensions(overrides: &Value) -> Problems {
    let mut problems = Problems::none();
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    for (name, _) in overrides["extensions"].as_object().into_iter().flatten() {
        if name.is_empty() {
            problems.add(Problems::bad_key(name, "").because("keys MUST NOT be empty"));
        } else if !name.chars().all(lower) {
            problems.add(Problems::bad_key(name, "").because("keys are expected to be alphanumeric"));
        }
    }
    problems
}
