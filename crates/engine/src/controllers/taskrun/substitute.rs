//! Parameters and variables in a Task: `$(params.X)`, `$(results.X.path)`, `$(workspaces.X.path)`, `$(context.…)`.
//!
//! Substitution is textual, as Tekton's is, and happens on the JSON of the steps and volumes, so every field that may hold
//! a variable is covered. A variable that means nothing stays as it is.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::Value;
use tm_resources::tekton::{ParamValue, TaskRun, TaskSpec};

use super::{Refused, pod::container_name};

/// Folder in which steps leave results.
pub(super) const RESULTS: &str = "/tekton/results";

/// What variables stand for.
#[derive(Debug, Default)]
struct Values {
    strings: BTreeMap<String, String>,
    arrays: BTreeMap<String, Vec<String>>,
}

/// The Task with everything filled in.
pub(super) fn resolve(run: &TaskRun, task_name: &str, task: &TaskSpec) -> Result<TaskSpec, Refused> {
    let invalid = |message: String| Refused { reason: "TaskRunValidationFailed", message };
    let mut values = Values::default();
    params(run, task_name, task, &mut values).map_err(invalid)?;
    workspaces(run, task, &mut values).map_err(invalid)?;
    for result in &task.results {
        values.string(&format!("results.{}.path", result.name), format!("{RESULTS}/{}", result.name));
    }
    for (index, step) in task.steps.iter().enumerate() {
        let name = container_name(index, step);
        values.string(&format!("steps.{name}.exitCode.path"), format!("/tekton/steps/{name}/exitCode"));
    }
    values.string("context.taskRun.name", run.name_any());
    values.string("context.taskRun.namespace", run.namespace().unwrap_or_default());
    values.string("context.taskRun.uid", run.uid().unwrap_or_default());
    values.string("context.task.name", task_name.to_owned());
    values.string("credentials.path", "/tekton/creds".to_owned());

    let mut resolved = task.clone();
    let fill = |value: &mut Value| values.fill(value);
    resolved.steps = through_json(&resolved.steps, fill).map_err(|error| invalid(error.to_string()))?;
    resolved.volumes = through_json(&resolved.volumes, fill).map_err(|error| invalid(error.to_string()))?;
    if let Some(template) = &mut resolved.step_template {
        values.fill(template);
    }
    Ok(resolved)
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(
    items: &T,
    change: impl Fn(&mut Value),
) -> Result<T, serde_json::Error> {
    let mut value = serde_json::to_value(items)?;
    change(&mut value);
    serde_json::from_value(value)
}

fn params(run: &TaskRun, task_name: &str, task: &TaskSpec, values: &mut Values) -> Result<(), String> {
    let mut missing = Vec::new();
    for declared in &task.params {
        let given = run.spec.params.iter().find(|param| param.name == declared.name);
        match given.map(|param| &param.value).or(declared.default.as_ref()) {
            Some(value) => values.param(&declared.name, value),
            None => missing.push(declared.name.clone()),
        }
    }
    // An inline Task may use what only the run declares (Tekton: propagated parameters).
    if run.spec.task_spec.is_some() {
        for param in &run.spec.params {
            values.param(&param.name, &param.value);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "[User error] invalid input params for task {task_name}: missing values for these params which have no default values: [{}]",
        missing.join(" ")
    ))
}

fn workspaces(run: &TaskRun, task: &TaskSpec, values: &mut Values) -> Result<(), String> {
    for declared in &task.workspaces {
        let bound = run.spec.workspaces.iter().any(|binding| binding.name == declared.name);
        if !bound && declared.optional != Some(true) {
            return Err(format!(
                "[User error] bound workspaces did not match declared workspaces: declared workspace \"{}\" is required but has not been bound",
                declared.name
            ));
        }
        let path =
            if bound { mount_path(&declared.name, declared.mount_path.as_deref()) } else { String::new() };
        values.string(&format!("workspaces.{}.path", declared.name), path);
        values.string(&format!("workspaces.{}.bound", declared.name), bound.to_string());
    }
    Ok(())
}

/// Where a workspace is mounted.
pub(super) fn mount_path(name: &str, given: Option<&str>) -> String {
    given.filter(|path| !path.is_empty()).map_or_else(|| format!("/workspace/{name}"), str::to_owned)
}

// === impl Values ===

impl Values {
    fn string(&mut self, name: &str, value: String) {
        self.strings.insert(name.into(), value);
    }

    /// A parameter under all the spellings Tekton knows.
    fn param(&mut self, name: &str, value: &ParamValue) {
        let spellings = [
            format!("params.{name}"),
            format!("params['{name}']"),
            format!("params[\"{name}\"]"),
            format!("inputs.params.{name}"),
        ];
        for spelling in spellings {
            match value {
                ParamValue::String(text) => self.string(&spelling, text.clone()),
                ParamValue::Array(list) => {
                    for (index, item) in list.iter().enumerate() {
                        self.string(&format!("{spelling}[{index}]"), item.clone());
                    }
                    self.arrays.insert(format!("{spelling}[*]"), list.clone());
                }
                ParamValue::Object(map) => {
                    for (key, item) in map {
                        self.string(&format!("{spelling}.{key}"), item.clone());
                    }
                }
            }
        }
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for mut item in items.drain(..) {
                    // An array takes the place of a whole element only.
                    if let Some(list) = item.as_str().and_then(|text| self.whole_array(text)) {
                        filled.extend(list.iter().cloned().map(Value::String));
                    } else {
                        self.fill(&mut item);
                        filled.push(item);
                    }
                }
                *items = filled;
            }
            Value::Object(map) => map.values_mut().for_each(|value| self.fill(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn whole_array(&self, text: &str) -> Option<&Vec<String>> {
        self.arrays.get(text.strip_prefix("$(")?.strip_suffix(')')?)
    }

    fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("$(") {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let name = rest[2..].split_once(')').map(|(name, _)| name);
            match name.and_then(|name| self.strings.get(name).map(|value| (name, value))) {
                Some((name, value)) => {
                    out.push_str(value);
                    rest = &rest[name.len() + 3..];
                }
                None => {
                    out.push_str("$(");
                    rest = &rest[2..];
                }
            }
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(spec: Value) -> TaskRun {
        serde_json::from_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
            "metadata": {"name": "r", "namespace": "default", "uid": "u"}, "spec": spec,
        }))
        .expect("it is a TaskRun")
    }

    fn task(spec: Value) -> TaskSpec {
        serde_json::from_value(spec).expect("it is a Task's spec")
    }

    #[test]
    fn every_spelling_is_filled_in() {
        let task = task(json!({
            "params": [{"name": "A"}, {"name": "list", "type": "array"}],
            "results": [{"name": "IMAGE_URL"}],
            "workspaces": [{"name": "source"}],
            "steps": [{
                "name": "a", "image": "$(params['A'])",
                "command": ["$(params.list[*])", "$(params.list[1])", "x-$(inputs.params.A)"],
                "args": ["$(results.IMAGE_URL.path)", "$(workspaces.source.path)/src", "$(unknown)", "$(context.taskRun.uid)"],
                "env": [{"name": "E", "value": "$(params[\"A\"])"}],
            }],
        }));
        let run = run(json!({
            "params": [{"name": "A", "value": "v"}, {"name": "list", "value": ["1", "2"]}],
            "workspaces": [{"name": "source", "emptyDir": {}}],
        }));
        let step = resolve(&run, "t", &task).expect("it resolves").steps.remove(0);
        assert_eq!(step.image.as_deref(), Some("v"));
        assert_eq!(step.command, ["1", "2", "2", "x-v"]);
        assert_eq!(step.args, ["/tekton/results/IMAGE_URL", "/workspace/source/src", "$(unknown)", "u"]);
        assert_eq!(step.env[0].value.as_deref(), Some("v"));
    }

    #[test]
    fn a_value_is_not_looked_at_again() {
        let task = task(json!({"params": [{"name": "A"}, {"name": "B", "default": "b"}],
            "steps": [{"name": "a", "args": ["$(params.A)"]}]}));
        let run = run(json!({"params": [{"name": "A", "value": "$(params.B)"}]}));
        assert_eq!(resolve(&run, "t", &task).expect("it resolves").steps[0].args, ["$(params.B)"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let task = task(json!({"params": [{"name": "P"}, {"name": "Q"}], "steps": [{"name": "a"}]}));
        let refused = resolve(&run(json!({})), "t", &task).expect_err("P and Q are missing");
        assert!(refused.message.ends_with("[P Q]"), "{}", refused.message);
    }
}
