//! Aggregated discovery: all groups in one document, which kubectl asks for first.

use axum::response::Response;
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::{Sub, VERBS, subresources, typed_response};
use crate::api::{
    catalog::{RESOURCES, Resource},
    review,
};

/// The version of the document a client asks for, when it asks for it at all.
pub(super) fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).find_map(|media| {
        let media = media.replace(' ', "");
        let asks = media.starts_with("application/json;") && media.contains("as=APIGroupDiscoveryList");
        match (asks, media.contains("v=v2beta1"), media.contains("v=v2")) {
            (true, true, _) => Some("v2beta1"),
            (true, false, true) => Some("v2"),
            _ => None,
        }
    })
}

/// The document with these groups.
pub(super) fn answer(version: &str, groups: &[&str]) -> Response {
    let items: Vec<Value> = groups.iter().map(|group| item(group)).collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    });
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    typed_response(&document, &media)
}

fn item(group: &str) -> Value {
    let mut resources: Vec<Value> = RESOURCES.iter().filter(|r| r.group == group).map(resource).collect();
    resources.extend(review::REVIEWS.iter().filter(|r| r.group == group).map(|review| {
        json!({
            "resource": review.plural, "singularResource": review.singular(), "scope": "Cluster",
            "responseKind": {"group": group, "version": "v1", "kind": review.kind}, "verbs": ["create"],
        })
    }));
    let mut metadata = json!({});
    if !group.is_empty() {
        metadata["name"] = group.into();
    }
    json!({
        "metadata": metadata,
        "versions": [{"version": "v1", "resources": resources, "freshness": "Current"}],
    })
}

fn resource(resource: &Resource) -> Value {
    let mut value = json!({
        "resource": resource.plural, "singularResource": resource.singular,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "responseKind": kind(resource.group, resource.version, resource.kind), "verbs": VERBS,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    let subs: Vec<Value> = subresources(resource).map(|sub| subresource(resource, &sub)).collect();
    if !subs.is_empty() {
        value["subresources"] = subs.into();
    }
    value
}

fn subresource(resource: &Resource, sub: &Sub) -> Value {
    let (group, version, name) = sub.kind.unwrap_or((resource.group, resource.version, resource.kind));
    json!({"subresource": sub.name, "responseKind": kind(group, version, name), "verbs": sub.verbs})
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}
