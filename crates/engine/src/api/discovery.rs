//! Discovery: what is served, in the old form (a document per group) and the aggregated one.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::{
    catalog::{RESOURCES, Resource},
    dispatch::json_response,
    error::{ApiError, Result},
    review,
};

mod aggregated;

/// Verbs of objects.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// A subresource as discovery shows it.
struct Sub {
    name: &'static str,
    verbs: &'static [&'static str],
    kind: Option<(&'static str, &'static str, &'static str)>,
}

/// `/api`.
pub(crate) fn core_versions(headers: &HeaderMap) -> Response {
    if let Some(version) = aggregated::wanted(headers) {
        return aggregated::answer(version, &[""]);
    }
    let versions = json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []});
    json_response(200, versions.to_string())
}

/// `/apis`.
pub(crate) fn groups(headers: &HeaderMap) -> Response {
    let names = group_names();
    if let Some(version) = aggregated::wanted(headers) {
        return aggregated::answer(version, &names);
    }
    let groups: Vec<Value> = names.iter().map(|name| group_object(name)).collect();
    json_response(200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}).to_string())
}

/// `/apis/GROUP`.
pub(crate) fn group(name: &str) -> Result<Response> {
    let found = group_names().contains(&name);
    let mut object = found.then(|| group_object(name)).ok_or_else(ApiError::no_such_path)?;
    object["kind"] = "APIGroup".into();
    object["apiVersion"] = "v1".into();
    Ok(json_response(200, object.to_string()))
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(crate) fn resources(group: &str, version: &str) -> Result<Response> {
    let mut list: Vec<Value> = Vec::new();
    for resource in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
        list.push(entry(resource));
        list.extend(subresources(resource).map(|sub| sub_entry(resource, &sub)));
    }
    list.extend(review::REVIEWS.iter().filter(|r| r.group == group && r.version == version).map(|review| {
        json!({"name": review.plural, "singularName": review.singular(), "namespaced": false, "kind": review.kind,
            "verbs": ["create"]})
    }));
    if list.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let object = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    });
    Ok(json_response(200, object.to_string()))
}

/// `/version`.
pub(crate) fn version() -> Response {
    let version = json!({
        "major": "1", "minor": "35", "gitVersion": concat!("v1.35.0+tm.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "",
        "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "emulationMajor": "1", "emulationMinor": "35", "minCompatibilityMajor": "1", "minCompatibilityMinor": "34",
    });
    json_response(200, version.to_string())
}

/// Every group but the core one, each with one version.
fn group_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = RESOURCES.iter().map(|r| r.group).filter(|group| !group.is_empty()).collect();
    names.extend(review::REVIEWS.iter().map(|r| r.group));
    names.dedup();
    names
}

fn group_object(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": VERBS,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    entry
}

fn sub_entry(resource: &Resource, sub: &Sub) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.namespaced,
        "kind": sub.kind.map_or(resource.kind, |(_, _, kind)| kind), "verbs": sub.verbs,
    });
    if let Some((group, version, _)) = sub.kind {
        entry["group"] = group.into();
        entry["version"] = version.into();
    }
    entry
}

fn subresources(resource: &Resource) -> impl Iterator<Item = Sub> {
    resource.subresources.iter().map(|name| match *name {
        "log" => Sub { name, verbs: &["get"], kind: None },
        "exec" => Sub { name, verbs: &["create", "get"], kind: Some(("", "v1", "PodExecOptions")) },
        "finalize" => Sub { name, verbs: &["update"], kind: None },
        _ => Sub { name, verbs: &["get", "patch", "update"], kind: None },
    })
}

/// An answer with a media type that says more than JSON.
fn typed_response(body: &Value, media_type: &str) -> Response {
    let mut response = json_response(200, body.to_string());
    if let Ok(value) = HeaderValue::from_str(media_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}
