//! The part of a pod's specification that a revision may set.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Problems, Review, is_set, items, text, volumes};
use crate::{api::names, store::Key};

/// Fields that need a feature flag.
const FLAGGED: &[&str] = &[
    "affinity",
    "dnsConfig",
    "dnsPolicy",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "shareProcessNamespace",
    "tolerations",
    "topologySpreadConstraints",
];
const RESERVED_ENV: &[&str] = &["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"];
const RESERVED_PORTS: &[i64] = &[8008, 8012, 8013, 8022, 9090, 9091];
const MAX_CONCURRENCY: i64 = 1000;
/// Longest request unless ConfigMap `knative-serving/config-defaults` says otherwise.
const MAX_TIMEOUT: i64 = 600;
const MAX_TIMEOUT_KEY: &str = "max-revision-timeout-seconds";

/// What is wrong with a revision's specification.
pub(super) fn judge(review: &Review<'_>, spec: &Value) -> Problems {
    let mut problems = Problems::none();
    for field in FLAGGED.iter().filter(|field| is_set(spec, field)) {
        problems.add(Problems::disallowed(field));
    }
    if spec.get("automountServiceAccountToken") == Some(&Value::Bool(true)) {
        problems.add(Problems::disallowed("automountServiceAccountToken"));
    }
    let init = items(spec, "initContainers").len();
    if init > 0 {
        problems.add(Problems::of(
            format!("pod spec support for init-containers is off, but found {init} init containers"),
            &[],
        ));
    }
    let containers = items(spec, "containers");
    problems.add(volumes::judge(items(spec, "volumes"), containers).under("volumes"));
    problems.add(all_containers(containers, items(spec, "volumes")));
    for why in Some(text(spec, "serviceAccountName"))
        .filter(|n| !n.is_empty())
        .map(names::subdomain)
        .into_iter()
        .flatten()
    {
        problems.add(Problems::invalid(text(spec, "serviceAccountName"), "serviceAccountName").because(why));
    }
    problems.add(limits(review, spec));
    problems
}

fn limits(review: &Review<'_>, spec: &Value) -> Problems {
    let mut problems = Problems::none();
    let number = |field: &str| spec.get(field).and_then(Value::as_i64);
    let max = max_timeout(review);
    if let Some(seconds) = number("timeoutSeconds").filter(|s| *s < 0 || *s > max) {
        problems.add(Problems::out_of_bounds(seconds, 0, max, "timeoutSeconds"));
    }
    let whole = number("timeoutSeconds").unwrap_or(0);
    for field in ["responseStartTimeoutSeconds", "idleTimeoutSeconds"] {
        if let Some(seconds) = number(field).filter(|s| *s < 0 || *s > whole) {
            problems.add(Problems::out_of_bounds(seconds, 0, whole, field));
        }
    }
    if let Some(number) = number("containerConcurrency").filter(|n| !(0..=MAX_CONCURRENCY).contains(n)) {
        problems.add(Problems::out_of_bounds(number, 0, MAX_CONCURRENCY, "containerConcurrency"));
    }
    problems
}

fn max_timeout(review: &Review<'_>) -> i64 {
    let defaults = review.store.get(&Key::new("configmaps", "knative-serving", "config-defaults"));
    let value = defaults.map(|object| object.value());
    let text = value.as_ref().and_then(|v| v["data"][MAX_TIMEOUT_KEY].as_str());
    text.and_then(|text| text.parse().ok()).unwrap_or(MAX_TIMEOUT)
}

fn all_containers(containers: &[Value], volumes: &[Value]) -> Problems {
    let mut problems = ports(containers).under("containers[*]");
    if containers.is_empty() {
        problems.add(Problems::missing("containers"));
    }
    let mut seen = BTreeSet::new();
    for (n, container) in containers.iter().enumerate() {
        if !seen.insert(text(container, "name")) && containers.len() > 1 {
            let message = format!("duplicate container name {:?}", text(container, "name"));
            problems.add(Problems::of(message, &["name"]).within("containers", n));
        }
        let sidecar = containers.len() > 1 && items(container, "ports").is_empty();
        problems.add(one_container(container, volumes, sidecar).within("containers", n));
    }
    problems
}

fn ports(containers: &[Value]) -> Problems {
    let count: usize = containers.iter().map(|container| items(container, "ports").len()).sum();
    match count {
        0 if containers.len() > 1 => Problems::missing("ports"),
        0 | 1 => Problems::none(),
        _ => Problems::of("more than one container port is set", &["ports"])
            .because("Only a single port is allowed across all containers"),
    }
}

fn one_container(container: &Value, volumes: &[Value], sidecar: bool) -> Problems {
    let mut problems = Problems::none();
    if text(container, "name") == "queue-proxy" {
        problems.add(Problems::of("\"queue-proxy\" is a reserved container name", &["name"]));
    }
    for (n, env) in items(container, "env").iter().enumerate() {
        problems.add(one_env(env, sidecar).within("env", n));
    }
    for source in items(container, "envFrom") {
        let both = ["configMapRef", "secretRef"];
        problems.add(match both.map(|field| source.get(field).is_some()) {
            [true, true] => Problems::both(&both).under("envFrom"),
            [false, false] => Problems::neither(&both).under("envFrom"),
            _ => Problems::none(),
        });
    }
    match text(container, "image") {
        "" => problems.add(Problems::missing("image")),
        image if image.contains(char::is_whitespace) || image.starts_with(['/', ':', '@']) => {
            let details = format!("image: {image:?}, error: could not parse reference: {image}");
            problems.add(Problems::of("Failed to parse image reference", &["image"]).because(details));
        }
        _ => {}
    }
    if let Some(port) = items(container, "ports").first() {
        problems.add(one_port(port).under("ports"));
    }
    problems.add(security(&container["securityContext"]).under("securityContext"));
    let policy = text(container, "terminationMessagePolicy");
    if !matches!(policy, "" | "File" | "FallbackToLogsOnError") {
        problems.add(Problems::invalid(policy, "terminationMessagePolicy"));
    }
    problems.add(volumes::judge_mounts(items(container, "volumeMounts"), volumes).under("volumeMounts"));
    if !sidecar {
        problems.add(probe(&container["livenessProbe"], false).under("livenessProbe"));
        problems.add(probe(&container["readinessProbe"], true).under("readinessProbe"));
    }
    problems
}

fn one_env(env: &Value, sidecar: bool) -> Problems {
    let name = text(env, "name");
    let mut problems = Problems::none();
    if name.is_empty() {
        problems.add(Problems::missing("name"));
    } else if RESERVED_ENV.contains(&name) && !(sidecar && name == "PORT") {
        problems.add(Problems::of(format!("{name:?} is a reserved environment variable"), &["name"]));
    }
    for field in ["fieldRef", "resourceFieldRef"] {
        if env["valueFrom"].get(field).is_some() {
            problems.add(Problems::disallowed(field).under("valueFrom"));
        }
    }
    problems
}

fn one_port(port: &Value) -> Problems {
    let mut problems = Problems::none();
    let number = port.get("containerPort").and_then(Value::as_i64).unwrap_or(0);
    if RESERVED_PORTS.contains(&number) {
        let why = format!("{number} is a reserved port");
        let details = format!("{why}, please use a different value");
        problems.add(Problems::invalid(why, "containerPort").because(details));
    }
    if !(0..=65535).contains(&number) {
        problems.add(Problems::out_of_bounds(number, 0, 65535, "containerPort"));
    }
    let protocol = text(port, "protocol");
    if !matches!(protocol, "" | "TCP") {
        problems.add(Problems::invalid(protocol, "protocol"));
    }
    let name = text(port, "name");
    if !matches!(name, "" | "http1" | "h2c") {
        problems.add(
            Problems::of(format!("Port name {name} is not allowed"), &[""])
                .because("Name must be empty, or one of: 'h2c', 'http1'"),
        );
    }
    problems
}

fn security(context: &Value) -> Problems {
    let mut problems = Problems::none();
    if is_set(context, "privileged") {
        problems.add(Problems::disallowed("privileged"));
    }
    if is_set(&context["capabilities"], "add") {
        problems.add(Problems::disallowed("capabilities.add"));
    }
    for field in ["runAsUser", "runAsGroup"] {
        if let Some(id) = context.get(field).and_then(Value::as_i64)
            && !(0..=i64::from(i32::MAX)).contains(&id)
        {
            problems.add(Problems::out_of_bounds(id, 0, i32::MAX, field));
        }
    }
    problems
}

fn probe(probe: &Value, readiness: bool) -> Problems {
    if probe.is_null() {
        return Problems::none();
    }
    let mut problems = Problems::none();
    let handlers: Vec<&str> =
        ["httpGet", "tcpSocket", "exec", "grpc"].into_iter().filter(|h| probe.get(h).is_some()).collect();
    match handlers.len() {
        0 => problems.add(Problems::neither(&["exec", "grpc", "httpGet", "tcpSocket"])),
        1 => {}
        _ => problems.add(Problems::both(&handlers)),
    }
    let number = |field: &str| probe.get(field).and_then(Value::as_i64).unwrap_or(0);
    if !readiness {
        return problems;
    }
    for field in ["periodSeconds", "initialDelaySeconds"] {
        if number(field) < 0 {
            problems.add(Problems::out_of_bounds(number(field), 0, i32::MAX, field));
        }
    }
    if number("successThreshold") < 1 {
        problems.add(Problems::out_of_bounds(number("successThreshold"), 1, i32::MAX, "successThreshold"));
    }
    for field in ["failureThreshold", "timeoutSeconds"] {
        if number("periodSeconds") == 0 && number(field) != 0 {
            problems.add(Problems::of(format!("{field} is disallowed when periodSeconds is zero"), &[field]));
        } else if number("periodSeconds") != 0 && number(field) < 1 {
            problems.add(Problems::out_of_bounds(number(field), 1, i32::MAX, field));
        }
    }
    problems
}
