//! Runtimes: from what was typed to a Tekton Task.
//!
//! A name is an installed Task, else a built-in one; a path or URL is a Task's YAML. Manifests of the Knative Lambda
//! Runtime (`v1alpha1`, `inputs.params`) are turned into today's shape on the way in.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use build_tasks::tasks;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tm_resources::tekton::Task;

use crate::{error::HintExt, printer::Printer, target::Target, userinfo};

/// Longest time of a download.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(30);
/// A Task's YAML is some KB.
const SIZE_LIMIT: usize = 1 << 20;

/// A Task to build with.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// Short name, under which a target may set image parameters.
    pub(crate) name: String,
    /// The Task.
    pub(crate) task: Task,
}

/// Resolves what was typed.
pub(crate) async fn resolve(typed: &str, target: &Target, printer: &Printer) -> Result<Runtime> {
    if is_location(typed) {
        let task = load(typed, printer).await?;
        return Ok(Runtime { name: task.name_any(), task });
    }
    let installed: Api<Task> = Api::namespaced(target.client.clone(), &target.namespace);
    for name in names(typed) {
        if let Some(task) = installed.get_opt(name).await.context("failed to look for the runtime")? {
            printer.debug(&format!("runtime {typed} is the installed Task {name}"));
            let builtin = tasks::find(typed);
            if let Some(note) = builtin.as_ref().and_then(|builtin| builtin.note) {
                printer.note(&format!("{typed}: {note}"));
            }
            let name = builtin.map_or(name, |builtin| builtin.alias_of);
            return Ok(Runtime { name: name.to_owned(), task });
        }
    }
    match builtin(typed, printer)? {
        Some(runtime) => Ok(runtime),
        None => unknown(typed, &installed).await,
    }
}

/// Names under which a Task of that runtime may be installed: as typed, else the one it stands for, so that
/// `knative-go-runtime` is what `tm deploy task -f go.yaml` installed.
fn names(typed: &str) -> impl Iterator<Item = &str> {
    let short = tasks::find(typed).filter(|builtin| builtin.yaml.is_some()).map(|builtin| builtin.alias_of);
    std::iter::once(typed).chain(short.filter(move |short| *short != typed))
}

/// A Task this project brings.
pub(crate) fn builtin(name: &str, printer: &Printer) -> Result<Option<Runtime>> {
    let Some(builtin) = tasks::find(name) else { return Ok(None) };
    let Some(yaml) = builtin.yaml else {
        let note = builtin.note.unwrap_or("it is not available yet");
        return Err(anyhow::anyhow!("runtime `{name}`: {note}"))
            .hint("use go, python, node or custom, or bring a Task of your own (path or URL)");
    };
    if let Some(note) = builtin.note {
        printer.note(&format!("{name}: {note}"));
    }
    let task = parse(yaml, name, printer).context("a built-in Task is broken")?;
    Ok(Some(Runtime { name: builtin.alias_of.to_owned(), task }))
}

async fn unknown(typed: &str, installed: &Api<Task>) -> Result<Runtime> {
    let listed =
        installed.list(&kube::api::ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let known = listed.iter().map(ResourceExt::name_any).chain(tasks::all().map(|task| task.name.to_owned()));
    let best = known
        .map(|name| (strsim::jaro_winkler(typed, &name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let error = Err(anyhow::anyhow!("there is no runtime `{typed}`"));
    match best {
        Some((_, name)) => error.hint(format!("did you mean `{name}`?")),
        None => {
            error.hint("use go, python, node or custom, an installed Task (`tm get tasks`), a path or a URL")
        }
    }
}

/// Whether a word is a path or a URL rather than a name.
pub(crate) fn is_location(typed: &str) -> bool {
    typed.contains('/') || typed.ends_with(".yaml") || typed.ends_with(".yml")
}

/// Reads a Task from a path or URL.
pub(crate) async fn load(location: &str, printer: &Printer) -> Result<Task> {
    let shown = userinfo::shown(location);
    let text = if location.starts_with("http://") || location.starts_with("https://") {
        download(location).await?
    } else {
        tokio::fs::read_to_string(location)
            .await
            .with_context(|| format!("failed to read the Task `{shown}`"))
            .hint("give the path or URL of a Task's YAML")?
    };
    parse(&text, &shown, printer)
}

async fn download(url: &str) -> Result<String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(DOWNLOAD_LIMIT).build()?;
    let response = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let url = userinfo::shown(url);
    let mut response = response.with_context(|| format!("failed to download the Task `{url}`"))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > SIZE_LIMIT {
            bail!("`{url}` is larger than a Task can be");
        }
    }
    String::from_utf8(bytes).with_context(|| format!("`{url}` is no text"))
}

/// Parses and, where needed, converts.
pub(crate) fn parse(text: &str, location: &str, printer: &Printer) -> Result<Task> {
    let mut value: Value =
        serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("`{location}` is no YAML: {error}"))?;
    let (kind, version) = (text_of(&value, "kind"), text_of(&value, "apiVersion"));
    if !matches!(kind.as_str(), "Task" | "ClusterTask") || !version.starts_with("tekton.dev/") {
        return Err(anyhow::anyhow!(
            "`{location}` is not a Tekton Task but {}",
            if kind.is_empty() {
                "an object without a kind".to_owned()
            } else {
                format!("a {kind} of {version}")
            }
        ))
        .hint("a Task begins with `apiVersion: tekton.dev/v1` and `kind: Task`");
    }
    if version != tm_resources::tekton::API_VERSION {
        printer.note(&format!("{location}: {version} is converted to {}", tm_resources::tekton::API_VERSION));
        modernise(&mut value);
    }
    serde_json::from_value(value).with_context(|| format!("`{location}` is not a Task of tekton.dev/v1"))
}

fn text_of(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// `inputs.params` become `params`, `resources` of steps `computeResources`; git and image resources are gone: the source is
/// uploaded and the image is the parameter `IMAGE`.
fn modernise(task: &mut Value) {
    task["apiVersion"] = json!(tm_resources::tekton::API_VERSION);
    task["kind"] = json!("Task");
    if let Some(spec) = task.get_mut("spec") {
        each_text(spec, &mut |text| *text = today(text));
    }
    let Some(spec) = task.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(inputs) = spec.remove("inputs")
        && let Some(params) = inputs.get("params")
    {
        spec.insert("params".into(), params.clone());
    }
    spec.remove("outputs");
    spec.remove("resources");
    for step in spec.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(step) = step.as_object_mut()
            && let Some(resources) = step.remove("resources")
        {
            step.insert("computeResources".into(), resources);
        }
    }
}

/// Variables under their names of today: `$(inputs.params.X)`, which Tekton's webhook does not check any more, and the address of
/// an image resource, which the parameter `IMAGE` holds now.
fn today(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("$(")
        && let Some(end) = rest[at..].find(')').map(|end| at + end)
    {
        out.push_str(&rest[..at]);
        let name = &rest[at + 2..end];
        let resource = name.strip_prefix("outputs.resources.").and_then(|name| name.split_once('.'));
        match (name.strip_prefix("inputs.params."), resource) {
            (Some(param), _) => out.push_str(&format!("$(params.{param})")),
            (None, Some((_, "url"))) => out.push_str("$(params.IMAGE)"),
            _ => out.push_str(&rest[at..=end]),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| each_text(member, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer() -> Printer {
        Printer::new(false)
    }

    #[test]
    fn old_manifests_are_converted() {
        let old = "apiVersion: tekton.dev/v1alpha1\nkind: Task\nmetadata: {name: knative-go-runtime}\nspec:\n  inputs:\n    resources: [{name: sources, type: git}]\n    params: [{name: IMAGE, description: x}]\n  steps: [{name: a, image: b, resources: {}}]\n";
        let task = parse(old, "t.yaml", &printer()).expect("it converts");
        assert_eq!(task.spec.params[0].name, "IMAGE");
        assert!(!task.spec.other.contains_key("inputs"));
        assert!(task.spec.steps[0].other.contains_key("computeResources"));
    }

    #[test]
    fn old_variables_are_converted() {
        let old = "a $(inputs.params.X) $(inputs.params.Y-Z)$(outputs.resources.image.url) $(params.W) $(context.taskRun.name) $(x";
        let new = "a $(params.X) $(params.Y-Z)$(params.IMAGE) $(params.W) $(context.taskRun.name) $(x";
        assert_eq!(today(old), new);
        let task = "apiVersion: tekton.dev/v1alpha1\nkind: Task\nmetadata: {name: a}\nspec:\n  steps: [{name: s, image: $(inputs.params.I), args: [$(outputs.resources.o.url)]}]\n";
        let step = &parse(task, "t.yaml", &printer()).expect("it converts").spec.steps[0];
        assert_eq!((step.image.as_deref(), step.args[0].as_str()), (Some("$(params.I)"), "$(params.IMAGE)"));
    }

    #[test]
    fn a_runtime_is_installed_under_its_own_name_or_the_short_one() {
        let all = |typed| names(typed).collect::<Vec<_>>();
        assert_eq!(all("knative-go-runtime"), ["knative-go-runtime", "go"]);
        assert_eq!(all("go"), ["go"]);
        assert_eq!(all("kaniko"), ["kaniko"]);
        assert_eq!(all("mine"), ["mine"]);
    }

    #[test]
    fn what_is_no_task_is_said_so() {
        let error = parse("apiVersion: v1\nkind: Pod\n", "p.yaml", &printer()).expect_err("it is a Pod");
        assert_eq!(error.to_string(), "`p.yaml` is not a Tekton Task but a Pod of v1");
        let error = parse("a: [1\nb: 2\n", "bad.yaml", &printer()).expect_err("it is no YAML");
        assert!(error.to_string().starts_with("`bad.yaml` is no YAML"), "{error}");
    }

    #[test]
    fn every_built_in_task_parses() {
        for task in tasks::all().filter(|task| task.yaml.is_some()) {
            assert!(builtin(task.name, &printer()).expect("it parses").is_some(), "{}", task.name);
        }
    }
}
