//! Declared params and results.

use serde_json::{Map, Value};

use super::{Problems, is_set, text, unique};

/// Sets the types that were left out.
pub(super) fn fill_in(spec: &mut Map<String, Value>) {
    for param in list(spec, "params").filter(|param| param.is_object() && !is_set(param, "type")) {
        let kind = match param.get("default") {
            _ if is_set(param, "properties") => "object",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
            _ => "string",
        };
        param["type"] = kind.into();
        string_properties(param);
    }
    for result in list(spec, "results").filter(|result| result.is_object() && !is_set(result, "type")) {
        let kind = if is_set(result, "properties") { "object" } else { "string" };
        result["type"] = kind.into();
        string_properties(result);
    }
}

fn list<'a>(spec: &'a mut Map<String, Value>, field: &str) -> impl Iterator<Item = &'a mut Value> {
    spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn string_properties(item: &mut Value) {
    for (_, property) in item.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if property.is_object() && !is_set(property, "type") {
            property["type"] = "string".into();
        }
    }
}

/// What is wrong with declared params.
pub(super) fn judge(params: &[Value]) -> Problems {
    let mut problems = unique(params, |name| format!("[{name}].name"));
    for param in params {
        let name = text(param, "name");
        let kind = text(param, "type");
        if !matches!(kind, "" | "string" | "array" | "object") {
            problems.add(Problems::invalid(kind, &format!("{name}.type")));
        }
        if let Some(default) = param.get("default") {
            let actual = match default {
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                _ => "string",
            };
            if !kind.is_empty() && actual != kind {
                let message = format!("\"{kind}\" type does not match default value's type: \"{actual}\"");
                let paths = [format!("{name}.type"), format!("{name}.default.type")];
                problems.add(Problems::of(message, &[&paths[0], &paths[1]]));
            }
        }
        if kind == "object" && !is_set(param, "properties") {
            problems.add(Problems::missing(&format!("{name}.properties")));
        }
        if !is_name(name) {
            problems.add(Problems::of(
                "The format of following array and string variable names is invalid",
                &[&format!("[{name}]")],
            ).because("String/Array Names: \nMust only contain alphanumeric characters, hyphens (-), underscores (_), and dots (.)\nMust begin with a letter or an underscore (_)"));
        }
    }
    problems
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
