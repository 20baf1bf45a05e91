//! Built-in kinds: what the API server and its admission plugins fill in and refuse.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{Review, is_set, items, text};
use crate::{
    api::{
        NODE_NAME,
        error::{ApiError, FieldError, Result},
        names, object,
    },
    store::Key,
};

/// Largest Secret or ConfigMap.
const MAX_DATA: usize = 1 << 20;

/// Sets defaults.
pub(super) fn fill_in(review: &Review<'_>, new: &mut Value) {
    match review.resource.kind {
        "Pod" if review.old.is_none() => pod(review, new),
        "Secret" => secret(new),
        "Namespace" if review.old.is_none() => namespace(new),
        "Service" if review.old.is_none() => {
            let spec = object::child_mut(new, "spec");
            spec.entry("type").or_insert_with(|| "ClusterIP".into());
        }
        "Event" if review.old.is_none() => event(new),
        _ => {}
    }
}

/// Refuses what must not be.
pub(super) fn judge(review: &Review<'_>, new: &Value) -> Result<()> {
    let errors = match review.resource.kind {
        "Pod" if review.status => Vec::new(),
        "Pod" => {
            missing_account(review, new)?;
            pod_errors(review, new)
        }
        "Secret" => secret_errors(review, new),
        "ConfigMap" => data_errors(review, new),
        _ => Vec::new(),
    };
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(review.resource, object::name(new), &errors))
}

/// A pod is bound to the one node at once; its ServiceAccount lends it its pull secrets.
fn pod(review: &Review<'_>, new: &mut Value) {
    let namespace = object::namespace(new).to_owned();
    let spec = object::child_mut(new, "spec");
    let account = text_or(spec, "serviceAccountName", "default");
    spec.insert("serviceAccount".into(), account.as_str().into());
    text_or(spec, "restartPolicy", "Always");
    text_or(spec, "dnsPolicy", "ClusterFirst");
    text_or(spec, "schedulerName", "default-scheduler");
    text_or(spec, "nodeName", NODE_NAME);
    for (field, value) in [
        ("terminationGracePeriodSeconds", json!(30)),
        ("securityContext", json!({})),
        ("enableServiceLinks", json!(true)),
    ] {
        spec.entry(field).or_insert(value);
    }
    if spec.get("imagePullSecrets").and_then(Value::as_array).is_none_or(|s| s.is_empty())
        && let Some(account) = review.store.get(&Key::new("serviceaccounts", namespace, account))
        && let Some(secrets) = account.value().get("imagePullSecrets").filter(|s| s.is_array())
    {
        spec.insert("imagePullSecrets".into(), secrets.clone());
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            self::container(container);
        }
    }
    let status = json!({"phase": "Pending", "qosClass": "BestEffort"});
    if let Some(map) = new.as_object_mut() {
        map.insert("status".into(), status);
    }
}

fn container(container: &mut Value) {
    let Value::Object(container) = container else { return };
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let pinned = image.contains('@')
        || image.rsplit('/').next().is_some_and(|n| n.contains(':') && !n.ends_with(":latest"));
    text_or(container, "imagePullPolicy", if pinned { "IfNotPresent" } else { "Always" });
    text_or(container, "terminationMessagePath", "/dev/termination-log");
    text_or(container, "terminationMessagePolicy", "File");
    container.entry("resources").or_insert_with(|| json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(port) = port {
            text_or(port, "protocol", "TCP");
        }
    }
}

/// The text of a field, which is set when it is missing or empty.
fn text_or(map: &mut Map<String, Value>, field: &str, default: &str) -> String {
    match map.get(field).and_then(Value::as_str) {
        Some(given) if !given.is_empty() => given.to_owned(),
        _ => {
            map.insert(field.to_owned(), default.into());
            default.to_owned()
        }
    }
}

fn secret(new: &mut Value) {
    let Value::Object(map) = new else { return };
    text_or(map, "type", "Opaque");
    let Some(Value::Object(plain)) = map.shift_remove("stringData") else { return };
    let data = object::child_mut(new, "data");
    for (key, value) in plain {
        let encoded = BASE64_STANDARD.encode(value.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

fn namespace(new: &mut Value) {
    let name = object::name(new).to_owned();
    let labels = object::metadata_mut(new).entry("labels").or_insert_with(|| json!({}));
    if let Value::Object(labels) = labels {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
    object::child_mut(new, "spec").insert("finalizers".into(), json!(["kubernetes"]));
    object::child_mut(new, "status").insert("phase".into(), "Active".into());
}

fn event(new: &mut Value) {
    let now = object::now();
    let Value::Object(map) = new else { return };
    for field in ["firstTimestamp", "lastTimestamp"] {
        let slot = map.entry(field).or_insert(Value::Null);
        if slot.is_null() {
            *slot = now.as_str().into();
        }
    }
}

fn missing_account(review: &Review<'_>, new: &Value) -> Result<()> {
    let (namespace, account) = (object::namespace(new), text(&new["spec"], "serviceAccountName"));
    let key = Key::new("serviceaccounts", namespace, account);
    if review.old.is_some() || review.store.get(&key).is_some() {
        return Ok(());
    }
    let why = format!(
        "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
    );
    Err(ApiError::forbidden(review.resource, object::name(new), &why))
}

fn pod_errors(review: &Review<'_>, new: &Value) -> Vec<FieldError> {
    if let Some(old) = review.old {
        return pod_changes(old, new);
    }
    let spec = &new["spec"];
    let mut errors = Vec::new();
    if items(spec, "containers").is_empty() {
        errors.push(FieldError::raw("FieldValueRequired", "spec.containers", "Required value"));
    }
    for list in ["initContainers", "containers"] {
        for (n, container) in items(spec, list).iter().enumerate() {
            let at = format!("spec.{list}[{n}]");
            let name = text(container, "name");
            if name.is_empty() {
                errors.push(FieldError::raw("FieldValueRequired", format!("{at}.name"), "Required value"));
            } else {
                let wrong = names::label(name).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.name"), name, why)));
            }
            if !is_set(container, "image") {
                errors.push(FieldError::raw("FieldValueRequired", format!("{at}.image"), "Required value"));
            }
        }
    }
    errors
}

/// A pod's specification is fixed, but for images and deadlines.
fn pod_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let essence = |value: &Value| {
        let mut spec = value["spec"].clone();
        for field in
            ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"]
        {
            spec.as_object_mut().map(|map| map.shift_remove(field));
        }
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container.as_object_mut().map(|map| map.shift_remove("image"));
            }
        }
        spec
    };
    if essence(old) == essence(new) {
        return Vec::new();
    }
    let why = "pod updates may not change fields other than `spec.containers[*].image`,\
               `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
               existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
               previously negative)";
    vec![FieldError::forbidden("spec", why)]
}

fn secret_errors(review: &Review<'_>, new: &Value) -> Vec<FieldError> {
    let mut errors = data_errors(review, new);
    if let Some(old) = review.old.filter(|old| old["type"] != new["type"]) {
        let _ = old;
        errors.push(FieldError::invalid("type", text(new, "type"), "field is immutable"));
    }
    let data = &new["data"];
    for (key, value) in data.as_object().into_iter().flatten() {
        if BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).is_err() {
            errors.push(FieldError::invalid(
                format!("data[{key}]"),
                "<secret contents redacted>",
                "illegal base64 data",
            ));
        }
    }
    let required: &[&str] = match text(new, "type") {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in required {
        let Some(encoded) = data.get(key).and_then(Value::as_str) else {
            errors.push(FieldError::raw("FieldValueRequired", format!("data[{key}]"), "Required value"));
            continue;
        };
        let bytes = BASE64_STANDARD.decode(encoded).unwrap_or_default();
        if key.starts_with(".dockerc") && serde_json::from_slice::<Value>(&bytes).is_err() {
            let why = "invalid character in the docker configuration: it must be JSON";
            errors.push(FieldError::invalid(format!("data[{key}]"), "<secret contents redacted>", why));
        }
    }
    errors
}

fn data_errors(review: &Review<'_>, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let entries = ["data", "binaryData"].into_iter().flat_map(|field| {
        new.get(field).and_then(Value::as_object).into_iter().flatten().map(move |entry| (field, entry))
    });
    let mut size = 0;
    for (field, (key, value)) in entries {
        size += value.as_str().map_or(0, str::len);
        let good = key.len() <= 253
            && !matches!(key.as_str(), "" | "." | "..")
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !good {
            let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
                       or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
            errors.push(FieldError::invalid(format!("{field}[{key}]"), key, why));
        }
    }
    if size > MAX_DATA {
        let message = format!("Too long: may not be more than {MAX_DATA} bytes");
        errors.push(FieldError::raw("FieldValueTooLong", "data", message));
    }
    if let Some(old) = review.old.filter(|old| is_set(old, "immutable")) {
        let differs = |field: &str| old.get(field) != new.get(field);
        if differs("data") || differs("binaryData") || !is_set(new, "immutable") {
            errors.push(FieldError::forbidden("data", "field is immutable when `immutable` is set"));
        }
    }
    errors
}
