//! Holds an object against its schema: drops what is unknown (and says so), refuses what has the wrong type.

use serde_json::Value;

use super::{Scalar, Type, Typed};
use crate::api::error::FieldError;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Paths of fields that are not known; they were dropped.
    pub(crate) unknown: Vec<String>,
    /// Values of a wrong type.
    pub(crate) mistyped: Vec<Mistyped>,
    /// Required fields that are not there.
    pub(crate) missing: Vec<FieldError>,
}

/// A value of a wrong type.
#[derive(Debug)]
pub(crate) struct Mistyped {
    pub(crate) path: String,
    pub(crate) wanted: &'static str,
    pub(crate) found: &'static str,
}

/// Findings stop here: nobody reads more, and the object is refused anyway.
const MAX_FINDINGS: usize = 64;

/// Checks `value` and drops unknown fields and nulls from it.
pub(crate) fn check(typed: Typed, value: &mut Value) -> Findings {
    let mut findings = Findings::default();
    findings.visit(typed, value, "");
    findings
}

// === impl Mistyped ===

impl Mistyped {
    /// As a schema's validation says it.
    pub(crate) fn field_error(&self) -> FieldError {
        let Self { path, wanted, found } = self;
        let message = format!("Invalid value: {found:?}: {path} in body must be of type {wanted}: {found:?}");
        FieldError::raw("FieldValueTypeInvalid", path, message)
    }
}

// === impl Findings ===

impl Findings {
    fn visit(&mut self, typed: Typed, value: &mut Value, path: &str) {
        match (typed.ty(), value) {
            (Type::Any, _) => {}
            (Type::Scalar(scalar), value) => self.scalar(*scalar, value, path),
            (Type::List(..), Value::Array(items)) => {
                for (n, item) in items.iter_mut().enumerate() {
                    self.visit(typed.item(), item, &format!("{path}[{n}]"));
                }
            }
            (Type::Map(..), Value::Object(map)) => {
                for (key, value) in map {
                    self.visit(typed.field(key), value, &join(path, key));
                }
            }
            (Type::Struct(_), value @ Value::Object(_)) => self.structure(typed, value, path),
            (Type::List(..), other) => self.mistyped(path, "array", other),
            (Type::Map(..) | Type::Struct(_), other) => self.mistyped(path, "object", other),
        }
    }

    fn structure(&mut self, typed: Typed, value: &mut Value, path: &str) {
        let (Some(structure), Value::Object(map)) = (typed.structure(), value) else { return };
        map.retain(|_, value| !value.is_null());
        let is_known = |key: &String| structure.open || structure.fields.contains_key(key.as_str());
        let unknown = map.keys().filter(|key| !is_known(key)).map(|key| join(path, key));
        let room = MAX_FINDINGS.saturating_sub(self.unknown.len());
        self.unknown.extend(unknown.take(room));
        map.retain(|key, _| is_known(key));
        for (key, value) in map.iter_mut() {
            self.visit(typed.field(key), value, &join(path, key));
        }
        let missing =
            structure.fields.iter().filter(|(name, field)| field.required && !map.contains_key(**name));
        self.missing.extend(
            missing
                .map(|(name, _)| FieldError::raw("FieldValueRequired", join(path, name), "Required value")),
        );
        self.missing.truncate(MAX_FINDINGS);
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value, path: &str) {
        let (good, wanted) = match scalar {
            Scalar::String | Scalar::Time | Scalar::Bytes => (value.is_string(), "string"),
            Scalar::Integer => (value.is_i64() || value.is_u64() || is_whole(value), "integer"),
            Scalar::Number => (value.is_number(), "number"),
            Scalar::Boolean => (value.is_boolean(), "boolean"),
            Scalar::Quantity | Scalar::IntOrString => {
                (value.is_string() || value.is_number(), "integer or string")
            }
        };
        if !good {
            self.mistyped(path, wanted, value);
        }
    }

    fn mistyped(&mut self, path: &str, wanted: &'static str, value: &Value) {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if self.mistyped.len() < MAX_FINDINGS {
            self.mistyped.push(Mistyped { path: path.to_owned(), wanted, found });
        }
    }
}

fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
