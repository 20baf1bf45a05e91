//! The value of one cell.

use serde_json::Value;

use super::age;
use crate::api::{
    catalog::{Cell, Column, Computed},
    object,
};

/// Computes a cell; nothing to show is null.
pub(super) fn cell(column: &Column, value: &Value) -> Value {
    match column.cell {
        Cell::At(pointer) => value.pointer(pointer).cloned().unwrap_or_default(),
        Cell::Since(pointer) => match object::text(value, pointer).map(age::since) {
            Some(Some(age)) => age.into(),
            Some(None) => "<invalid>".into(),
            // Built-in kinds say that they do not know, others leave the cell empty.
            None if column.kind == "string" => "<unknown>".into(),
            None => Value::Null,
        },
        Cell::Condition(of, field) => {
            let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
            let condition = conditions.into_iter().flatten().find(|c| c["type"] == of);
            condition.and_then(|c| c.get(field)).cloned().unwrap_or_default()
        }
        Cell::Label(name) => value["metadata"]["labels"][name].clone(),
        Cell::Count(pointer) => match value.pointer(pointer) {
            Some(Value::Object(map)) => map.len().into(),
            Some(Value::Array(list)) => list.len().into(),
            _ => 0.into(),
        },
        Cell::Computed(computed) => self::computed(computed, value).into(),
    }
}

fn computed(computed: Computed, value: &Value) -> String {
    match computed {
        Computed::PodReady => pod_ready(value),
        Computed::PodStatus => pod_status(value),
        Computed::PodRestarts => {
            let restarts =
                statuses(value, "containerStatuses").map(|s| s["restartCount"].as_i64().unwrap_or(0));
            restarts.sum::<i64>().to_string()
        }
        Computed::NodeStatus => {
            let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
            let ready =
                conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
            if ready { "Ready" } else { "NotReady" }.to_owned()
        }
        Computed::EventObject => {
            let part = |field| object::text(value, field).unwrap_or_default();
            format!("{}/{}", part("/involvedObject/kind").to_lowercase(), part("/involvedObject/name"))
        }
        Computed::ServicePorts => {
            let ports = value.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
            let ports: Vec<String> = ports
                .map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP")))
                .collect();
            if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
        }
    }
}

fn statuses<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod["status"][list].as_array().into_iter().flatten()
}

fn pod_ready(pod: &Value) -> String {
    let all = pod.pointer("/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
    let ready = statuses(pod, "containerStatuses").filter(|s| s["ready"] == true).count();
    format!("{ready}/{all}")
}

/// The phase, or what matters more: why a container waits or how it ended.
fn pod_status(pod: &Value) -> String {
    if object::text(pod, "/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    let mut reason = object::text(pod, "/status/reason")
        .or_else(|| object::text(pod, "/status/phase"))
        .unwrap_or("Unknown")
        .to_owned();
    let init = statuses(pod, "initContainerStatuses").find_map(init_reason);
    if let Some(init) = init {
        return format!("Init:{init}");
    }
    let mut running = false;
    for status in statuses(pod, "containerStatuses") {
        match container_reason(status) {
            Some(of_container) => reason = of_container,
            None => running |= status["ready"] == true,
        }
    }
    if reason == "Completed" && running { "Running".to_owned() } else { reason }
}

fn init_reason(status: &Value) -> Option<String> {
    let code = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64);
    if code == Some(0) || status.pointer("/state/running").is_some() && status["ready"] == true {
        return None;
    }
    let reason = container_reason(status).filter(|reason| reason != "PodInitializing");
    Some(reason.unwrap_or_else(|| "0/1".to_owned()))
}

fn container_reason(status: &Value) -> Option<String> {
    let text = |pointer| object::text(status, pointer).filter(|t| !t.is_empty()).map(str::to_owned);
    if let Some(reason) = text("/state/waiting/reason") {
        return Some(reason);
    }
    let ended = status.pointer("/state/terminated")?;
    let number = |field: &str| ended[field].as_i64().unwrap_or(0);
    Some(text("/state/terminated/reason").unwrap_or_else(|| match number("signal") {
        0 => format!("ExitCode:{}", number("exitCode")),
        signal => format!("Signal:{signal}"),
    }))
}
