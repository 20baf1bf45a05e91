//! Objects as rows: what `kubectl get` asks for.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    catalog::{Column, Resource},
    error::{ApiError, Result},
    query::Query,
    render,
};
use crate::store::Object;

mod age;
mod cells;

/// How much of the object comes with its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

// === impl Include ===

impl Include {
    /// Reads `includeObject`.
    pub(crate) fn from_query(query: &Query) -> Result<Self> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(ApiError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// A table of objects. `metadata` is that of the list.
pub(crate) fn table<'a>(
    resource: &Resource,
    metadata: &Value,
    objects: impl Iterator<Item = &'a Object>,
    include: Include,
) -> Bytes {
    let rows: Vec<Value> = objects.map(|object| row(resource, object.json(), include)).collect();
    with_rows(resource, metadata, rows, true)
}

/// A table of one object, given as text: a `get`, or an event of a watch, where only the first names the columns.
pub(crate) fn single(resource: &Resource, json: &[u8], include: Include, columns: bool) -> Bytes {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
    with_rows(resource, &metadata, vec![row(resource, json, include)], columns)
}

fn with_rows(resource: &Resource, metadata: &Value, rows: Vec<Value>, columns: bool) -> Bytes {
    let columns = if columns { definitions(resource) } else { Value::Null };
    let table = json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    });
    table.to_string().into()
}

/// Events are known by what they are about, not by their names.
fn name_priority(resource: &Resource) -> u8 {
    u8::from(resource.qualified() == "events")
}

fn definitions(resource: &Resource) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "priority": name_priority(resource),
        "description": "Name must be unique within a namespace.",
    });
    let others = resource.columns.iter().map(|Column { name, kind, priority, .. }| {
        json!({"name": name, "type": kind, "format": "", "description": "", "priority": priority})
    });
    std::iter::once(name).chain(others).collect()
}

fn row(resource: &Resource, json: &[u8], include: Include) -> Value {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    let name = value["metadata"]["name"].clone();
    let cells = resource.columns.iter().map(|column| cells::cell(column, &value));
    let cells: Vec<Value> = std::iter::once(name).chain(cells).collect();
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => render::partial(json),
        Include::Object => value,
    };
    json!({"cells": cells, "object": object})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::catalog;

    fn cells(qualified: &str, object: &Value) -> Vec<Value> {
        let resource = catalog::find_qualified(qualified).unwrap();
        let row = row(resource, object.to_string().as_bytes(), Include::None);
        row["cells"].as_array().unwrap().clone()
    }

    #[test]
    fn a_service_of_knative() {
        let service = json!({"metadata": {"name": "s"}, "status": {"url": "http://s", "latestReadyRevisionName": "s-1",
            "latestCreatedRevisionName": "s-2",
            "conditions": [{"type": "Ready", "status": "False", "reason": "RevisionFailed"}]}});
        assert_eq!(
            cells("services.serving.knative.dev", &service),
            ["s", "http://s", "s-2", "s-1", "False", "RevisionFailed"]
        );
        let fresh = json!({"metadata": {"name": "s"}});
        assert_eq!(cells("services.serving.knative.dev", &fresh)[1..], vec![Value::Null; 5]);
    }

    #[test]
    fn a_pod() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}}},
                {"name": "b", "ready": false, "restartCount": 1,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        assert_eq!(cells("pods", &pod)[..4], ["p", "1/2", "CrashLoopBackOff", "3"]);
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(cells("pods", &pod)[2], "Terminating");
        let done = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]},
            "status": {"phase": "Succeeded", "containerStatuses": [
                {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}});
        assert_eq!(cells("pods", &done)[1..3], ["0/1", "Completed"]);
    }

    #[test]
    fn counts_and_subjects() {
        let map = json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}});
        assert_eq!(cells("configmaps", &map)[1], 2);
        let event =
            json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "r"});
        assert_eq!(cells("events", &event)[3..5], ["r", "pod/p"]);
    }
}
