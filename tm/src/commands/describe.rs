//! `tm describe KIND NAME`: the object whole on stdout, as `get` prints it; for people on stderr how its containers are kept
//! apart and what happened to it and to what belongs to it.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result};
use comfy_table::{Table, TableStyle};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
};
use tm_resources::labels::{serving, tekton, tm::ISOLATION};

use super::{Session, get, output};
use crate::{
    cli::{Kind, Objects},
    error::HintExt,
    target::{Target, connect},
};

/// Events that are shown, the newest.
const SHOWN: usize = 20;

pub(super) async fn run(args: Objects, session: Session) -> Result<()> {
    let Some(name) = args.name.clone() else { return get::run(args, session).await };
    let target = connect(&session.global, &session.printer).await?;
    let kind = args.kind;
    let found = get::api(kind, &target, false).get_opt(&name).await;
    let found = found.with_context(|| format!("failed to get {} `{name}`", kind.word()))?;
    let object = found
        .ok_or_else(|| get::not_found(kind, &name, &target))
        .hint(format!("`tm get {}` lists them", kind.plural()))?;
    output::object(&session, &object)?;
    if session.global.output.is_none() {
        explain(kind, &object, &target, &session).await;
    }
    Ok(())
}

/// What not everybody may read is left out.
async fn explain(kind: Kind, object: &DynamicObject, target: &Target, session: &Session) {
    let pods = pods(kind, &object.name_any(), target).await;
    if runs_pods(kind)
        && let Some(isolation) = isolation(&pods, &target.client).await
    {
        session.printer.note(&format!("\nIsolation: {isolation}"));
    }
    let mut about: HashSet<String> =
        object.uid().into_iter().chain(pods.iter().filter_map(Pod::uid)).collect();
    if kind == Kind::Service {
        for part in [Kind::Configuration, Kind::Revision, Kind::Route] {
            let params = labelled(serving::SERVICE, &object.name_any());
            let parts = get::api(part, target, false).list(&params).await;
            about.extend(parts.into_iter().flatten().filter_map(|part| part.uid()));
        }
    }
    let api: Api<Event> = Api::namespaced(target.client.clone(), &target.namespace);
    let events = api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let of_these = |event: &Event| event.involved_object.uid.as_ref().is_some_and(|uid| about.contains(uid));
    let text = table(events.into_iter().filter(of_these).collect());
    session.printer.note(&format!("\nEvents: {}", text.as_deref().unwrap_or("none")));
}

fn labelled(key: &str, value: &str) -> ListParams {
    ListParams::default().labels(&format!("{key}={value}"))
}

fn runs_pods(kind: Kind) -> bool {
    matches!(kind, Kind::Service | Kind::Configuration | Kind::Revision | Kind::Taskrun)
}

/// The pods that run an object now.
async fn pods(kind: Kind, name: &str, target: &Target) -> Vec<Pod> {
    let key = match kind {
        Kind::Service => serving::SERVICE,
        Kind::Configuration => serving::CONFIGURATION,
        Kind::Revision => serving::REVISION,
        Kind::Taskrun => tekton::TASK_RUN,
        Kind::Route | Kind::Task => return Vec::new(),
    };
    let api: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    api.list(&labelled(key, name)).await.map(|list| list.items).unwrap_or_default()
}

/// How containers are kept apart: what the pods say, else, while there are none, what nodes say. A cluster's say nothing.
async fn isolation(pods: &[Pod], client: &Client) -> Option<String> {
    let mut said = words(pods);
    if pods.is_empty() {
        let nodes: Api<Node> = Api::all(client.clone());
        said = words(&nodes.list(&ListParams::default()).await.ok()?.items);
    }
    (!said.is_empty()).then(|| said.into_iter().collect::<Vec<_>>().join(", "))
}

fn words<K: ResourceExt>(objects: &[K]) -> BTreeSet<String> {
    objects.iter().filter_map(|object| object.annotations().get(ISOLATION).cloned()).collect()
}

fn time_of(event: &Event) -> Option<Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.or_else(|| event.event_time.as_ref().map(|time| time.0))
        .or_else(|| event.creation_timestamp().map(|t| t.0))
}

/// The newest Events, oldest of them first; `None` without any.
fn table(mut events: Vec<Event>) -> Option<String> {
    events.sort_by_key(time_of);
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(["Age", "Type", "Reason", "Object", "Message"]);
    let newest = events.len().saturating_sub(SHOWN);
    for event in &events[newest..] {
        let about = &event.involved_object;
        let kind = about.kind.as_deref().unwrap_or_default().to_lowercase();
        let times = event.count.filter(|count| *count > 1).map(|count| format!(" (x{count})"));
        let age = time_of(event).map(|time| get::human_age(time, Timestamp::now())).unwrap_or_default();
        table.add_row([
            age + &times.unwrap_or_default(),
            event.type_.clone().unwrap_or_default(),
            event.reason.clone().unwrap_or_default(),
            format!("{kind}/{}", about.name.as_deref().unwrap_or_default()),
            event.message.clone().unwrap_or_default(),
        ]);
    }
    let lines = table.lines().map(|line| format!("\n{}", line.trim_end())).collect::<String>();
    (!events.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_events_in_order() {
        let event = |second: usize| {
            serde_json::from_value::<Event>(json!({
                "metadata": {"name": "e"}, "reason": format!("R{second:02}"), "type": "Normal", "count": second,
                "message": "m", "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
                "involvedObject": {"kind": "Pod", "name": "p"},
            }))
            .expect("an event")
        };
        assert_eq!(table(Vec::new()), None);
        let text = table((0..30).rev().map(event).collect()).expect("a table");
        assert!(!text.contains("R09") && text.contains("R10") && text.contains("pod/p"), "{text}");
        assert!(text.find("R10") < text.find("R29"), "{text}");
        assert!(text.contains("(x29)"), "{text}");
    }
}
