//! Fields of a step that decide whether, how long and with what it runs.

use serde_json::Value;
use tm_resources::tekton::Step;

/// What steps may have that is not here, and how the refusal names it.
const UNKNOWN: &[(&str, &str)] =
    &[("ref", "StepActions are"), ("results", "results of steps are"), ("params", "params of steps are")];

/// A text that is there.
pub(super) fn text<'a>(step: &'a Step, field: &str) -> Option<&'a str> {
    step.other.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether the run goes on after its failure.
pub(super) fn may_fail(step: &Step) -> bool {
    text(step, "onError") == Some("continue")
}

fn list<'a>(step: &'a Step, field: &str) -> impl Iterator<Item = &'a Value> {
    step.other.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// Whether all of its `when` hold.
pub(super) fn holds(step: &Step) -> bool {
    list(step, "when").all(|when| {
        let among = when["values"].as_array().is_some_and(|values| values.contains(&when["input"]));
        among == (when["operator"] != "notin")
    })
}

/// How a step uses a workspace, if it names it: with a path of its own or where it is for all.
pub(super) fn workspace<'a>(step: &'a Step, name: &str) -> Option<Option<&'a str>> {
    let usage = list(step, "workspaces").find(|usage| usage["name"] == name)?;
    Some(usage["mountPath"].as_str().filter(|path| !path.is_empty()))
}

/// Why this engine cannot run a step.
pub(super) fn unknown(step: &Step) -> Option<String> {
    let name = &step.name;
    let is_there =
        |field: &str| step.other.get(field).is_some_and(|value| *value != Value::Array(Vec::new()));
    let refused = |what: &str| format!("step \"{name}\": {what} not served by the embedded engine");
    if let Some((_, what)) = UNKNOWN.iter().find(|(field, _)| is_there(field)) {
        return Some(refused(what));
    }
    let whens: Vec<&Value> = list(step, "when").collect();
    if whens.iter().any(|when| when.get("cel").is_some()) {
        return Some(refused("CEL in when is"));
    }
    let later = |when: &&Value| when.to_string().contains("$(steps.");
    whens.iter().any(later).then(|| refused("results of steps in when are"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(fields: Value) -> Step {
        serde_json::from_value(fields).expect("a step")
    }

    #[test]
    fn whens() {
        let when =
            |input: &str, operator: &str| json!({"input": input, "operator": operator, "values": ["a", "b"]});
        for (whens, run) in [
            (json!([]), true),
            (json!([when("a", "in")]), true),
            (json!([when("c", "in")]), false),
            (json!([when("c", "notin"), when("b", "in")]), true),
            (json!([when("c", "notin"), when("b", "notin")]), false),
        ] {
            assert_eq!(holds(&step(json!({"when": whens}))), run, "{whens}");
        }
    }

    #[test]
    fn what_is_not_here_is_named() {
        let why = |fields: Value| unknown(&step(fields)).unwrap_or_default();
        assert_eq!(why(json!({"name": "a", "when": [{"input": "x"}], "results": []})), "");
        let ends = "not served by the embedded engine";
        for (fields, what) in [
            (json!({"name": "a", "ref": {"name": "x"}}), "StepActions are"),
            (json!({"name": "a", "when": [{"cel": "true"}]}), "CEL in when is"),
            (
                json!({"name": "a", "when": [{"input": "$(steps.b.results.c)"}]}),
                "results of steps in when are",
            ),
        ] {
            assert_eq!(why(fields), format!("step \"a\": {what} {ends}"));
        }
    }
}
