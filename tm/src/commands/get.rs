//! `tm get KIND [NAME]`: a table of all, or one object whole.

use anyhow::{Context, Result};
use comfy_table::{Table, TableStyle};
use jiff::{SpanRound, Timestamp, Unit};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::{Session, output};
use crate::{
    cli::{Kind, Objects, Output},
    error::HintExt,
    target::{Target, connect},
};

pub(super) async fn run(args: Objects, session: Session) -> Result<()> {
    let target = connect(&session.global, &session.printer).await?;
    match &args.name {
        Some(name) => one(&args, name, &target, &session).await,
        None => all(&args, &target, &session).await,
    }
}

async fn one(args: &Objects, name: &str, target: &Target, session: &Session) -> Result<()> {
    let api = api(args.kind, target, false);
    let found =
        api.get_opt(name).await.with_context(|| format!("failed to get {} `{name}`", args.kind.word()))?;
    match found {
        Some(object) => output::object(session, &object),
        None => Err(not_found(args.kind, name, target))
            .hint(format!("`tm get {}` lists them", args.kind.plural())),
    }
}

/// The error for an object that is not there.
pub(super) fn not_found(kind: Kind, name: &str, target: &Target) -> anyhow::Error {
    anyhow::anyhow!("there is no {} `{name}` in namespace `{}`", kind.word(), target.namespace)
}

async fn all(args: &Objects, target: &Target, session: &Session) -> Result<()> {
    let kind = args.kind;
    let api = api(kind, target, args.all_namespaces);
    let list = api
        .list(&ListParams::default())
        .await
        .with_context(|| format!("failed to list {}", kind.plural()))?;
    match session.global.output {
        Some(Output::Name) => list.items.iter().try_for_each(|object| output::object(session, object)),
        Some(_) => {
            let items = serde_json::to_value(&list.items)?;
            output::object(session, &json!({"apiVersion": "v1", "kind": "List", "items": items}))
        }
        None if list.items.is_empty() => {
            session.printer.note(&format!("No {} found", kind.plural()));
            Ok(())
        }
        None => {
            session.printer.data(&table(kind, &list.items));
            Ok(())
        }
    }
}

/// The API of a kind in the target's namespace, or in all.
pub(super) fn api(kind: Kind, target: &Target, everywhere: bool) -> Api<DynamicObject> {
    let resource = kind.resource();
    if everywhere {
        Api::all_with(target.client.clone(), &resource)
    } else {
        Api::namespaced_with(target.client.clone(), &target.namespace, &resource)
    }
}

fn table(kind: Kind, objects: &[DynamicObject]) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    let columns = kind.columns();
    let heads = ["Namespace", "Name"].into_iter().chain(columns.iter().map(|(head, _)| *head));
    table.set_header(heads.map(str::to_owned).collect::<Vec<_>>());
    for object in objects {
        let fixed = [object.namespace().unwrap_or_default(), object.name_any()];
        let cells = columns.iter().map(|(_, cell)| cell(object));
        table.add_row(fixed.into_iter().chain(cells).collect::<Vec<_>>());
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

type Cell = fn(&DynamicObject) -> String;

fn text(object: &DynamicObject, pointer: &str) -> String {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn url(object: &DynamicObject) -> String {
    text(object, "/status/url")
}

fn age(object: &DynamicObject) -> String {
    object.creation_timestamp().map(|time| human_age(time.0, Timestamp::now())).unwrap_or_default()
}

/// `5s`, `3m`, `2h`, `4d`: the largest unit, as kubectl's ages.
pub(super) fn human_age(then: Timestamp, now: Timestamp) -> String {
    let rounded = (now - then).round(SpanRound::new().largest(Unit::Hour).smallest(Unit::Second));
    let Ok(span) = rounded else { return String::new() };
    match (i64::from(span.get_hours()), span.get_minutes(), span.get_seconds()) {
        (hours, _, _) if hours >= 24 => format!("{}d", hours / 24),
        (hours, _, _) if hours > 0 => format!("{hours}h"),
        (_, minutes, _) if minutes > 0 => format!("{minutes}m"),
        (_, _, seconds) => format!("{seconds}s"),
    }
}

fn condition<'a>(object: &'a DynamicObject, type_: &str) -> Option<&'a Value> {
    let list = object.data.pointer("/status/conditions")?.as_array()?;
    list.iter().find(|condition| condition["type"] == type_)
}

fn member(condition: Option<&Value>, key: &str) -> String {
    condition.and_then(|condition| condition[key].as_str()).unwrap_or_default().to_owned()
}

fn ready(object: &DynamicObject) -> String {
    member(condition(object, "Ready"), "status")
}

fn reason(object: &DynamicObject) -> String {
    member(condition(object, "Ready"), "reason")
}

fn succeeded(object: &DynamicObject) -> String {
    member(condition(object, "Succeeded"), "status")
}

fn run_reason(object: &DynamicObject) -> String {
    member(condition(object, "Succeeded"), "reason")
}

// === impl Kind ===

impl Kind {
    /// Singular, for messages.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Configuration => "configuration",
            Self::Revision => "revision",
            Self::Route => "route",
            Self::Task => "task",
            Self::Taskrun => "taskrun",
        }
    }

    /// Plural, for messages and requests.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Configuration => "configurations",
            Self::Revision => "revisions",
            Self::Route => "routes",
            Self::Task => "tasks",
            Self::Taskrun => "taskruns",
        }
    }

    fn resource(self) -> ApiResource {
        let (group, kind) = match self {
            Self::Service => ("serving.knative.dev", "Service"),
            Self::Configuration => ("serving.knative.dev", "Configuration"),
            Self::Revision => ("serving.knative.dev", "Revision"),
            Self::Route => ("serving.knative.dev", "Route"),
            Self::Task => ("tekton.dev", "Task"),
            Self::Taskrun => ("tekton.dev", "TaskRun"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), self.plural())
    }

    fn columns(self) -> &'static [(&'static str, Cell)] {
        match self {
            Self::Service | Self::Route => {
                &[("Url", url), ("Age", age), ("Ready", ready), ("Reason", reason)]
            }
            Self::Configuration | Self::Revision => &[("Age", age), ("Ready", ready), ("Reason", reason)],
            Self::Task => &[("Age", age)],
            Self::Taskrun => &[("Age", age), ("Succeeded", succeeded), ("Reason", run_reason)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().expect("a time");
        let age = |text: &str| human_age(text.parse().expect("a time"), now);
        assert_eq!(age("2026-01-01T23:59:55Z"), "5s");
        assert_eq!(age("2026-01-01T23:55:59Z"), "4m");
        assert_eq!(age("2026-01-01T20:00:00Z"), "4h");
        assert_eq!(age("2025-12-30T00:00:00Z"), "3d");
    }

    #[test]
    fn a_table_has_a_row_for_each() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "metadata": {"name": "a", "namespace": "default"},
            "status": {"url": "http://a", "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("it is an object");
        let text = table(Kind::Service, &[object]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("http://a"), "{text}");
    }
}
