//! OpenAPI v3, made from the schemas: enough for kubectl to find out that fields are validated here, and for
//! `kubectl explain`.

use axum::response::Response;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    catalog::{RESOURCES, Resource},
    dispatch::json_response,
    error::{ApiError, Result},
    schema::{self, Field, ListKind, Scalar, Struct, Type},
};

/// Where structures of a document are.
const COMPONENTS: &str = "#/components/schemas/";

/// Answers `/openapi/PATH`.
pub(crate) fn answer(path: &str) -> Result<Response> {
    match path.strip_prefix("v3") {
        Some("") => Ok(json_response(200, index().to_string())),
        Some(rest) => document(rest.trim_start_matches('/')),
        // kubectl asks for v2 in protobuf only when v3 is not there.
        None => Err(ApiError::no_such_path()),
    }
}

/// The path of a group's document.
fn location(resource: &Resource) -> String {
    match resource.group {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    }
}

fn index() -> Value {
    let mut paths = Map::new();
    for resource in RESOURCES {
        let location = location(resource);
        let hash =
            hex::encode_upper(&Sha256::digest(format!("{location} {}", env!("CARGO_PKG_VERSION")))[..16]);
        let url = format!("/openapi/v3/{location}?hash={hash}");
        paths.insert(location, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

fn document(path: &str) -> Result<Response> {
    let resources: Vec<&Resource> = RESOURCES.iter().filter(|r| location(r) == path).collect();
    let first = resources.first().ok_or_else(ApiError::no_such_path)?;
    let prefix = prefix(first);
    let mut paths = Map::new();
    for resource in &resources {
        add_paths(resource, &mut paths);
    }
    let structs = schema::schema_of(first).structs();
    let schemas: Map<String, Value> = structs
        .map(|s| {
            let kind = resources.iter().find(|resource| resource.kind == s.name);
            (format!("{prefix}{}", s.name), structure(s, kind.copied(), &prefix))
        })
        .collect();
    let document = json!({
        "openapi": "3.0.0", "info": {"title": "tm", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "components": {"schemas": schemas},
    });
    Ok(json_response(200, document.to_string()))
}

/// `dev.knative.serving.v1.`
fn prefix(resource: &Resource) -> String {
    let group = if resource.group.is_empty() { "core.api.k8s.io" } else { resource.group };
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{}.", reversed.join("."), resource.version)
}

fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn add_paths(resource: &Resource, paths: &mut Map<String, Value>) {
    let root = format!("/{}", location(resource));
    let collection = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let operation = |action: &str, parameters: &[&str]| {
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
            .collect();
        json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind(resource),
            "parameters": parameters, "responses": {"200": {"description": "OK"}},
        })
    };
    let write = ["dryRun", "fieldManager", "fieldValidation"];
    let apply = ["dryRun", "fieldManager", "fieldValidation", "force"];
    paths.insert(format!("{collection}/{{name}}"), json!({
        "get": operation("get", &[]), "put": operation("put", &write), "patch": operation("patch", &apply),
        "delete": operation("delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
    }));
    paths.insert(
        collection,
        json!({
            "get": operation("list", &["labelSelector", "fieldSelector", "limit", "continue", "watch"]),
            "post": operation("post", &write),
            "delete": operation("deletecollection", &["dryRun", "labelSelector", "fieldSelector"]),
        }),
    );
    if resource.namespaced {
        paths.insert(format!("{root}/{}", resource.plural), json!({"get": operation("list", &[])}));
    }
}

fn structure(structure: &Struct, resource: Option<&Resource>, prefix: &str) -> Value {
    let properties: Map<String, Value> =
        structure.fields.iter().map(|(name, field)| ((*name).to_owned(), of_field(field, prefix))).collect();
    let mut value = json!({"type": "object", "properties": properties});
    let required: Vec<&str> =
        structure.fields.iter().filter(|(_, f)| f.required).map(|(name, _)| *name).collect();
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    if structure.open {
        value["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    if structure.atomic {
        value["x-kubernetes-map-type"] = "atomic".into();
    }
    if let Some(resource) = resource {
        value["x-kubernetes-group-version-kind"] = json!([kind(resource)]);
    }
    value
}

fn of_field(field: &Field, prefix: &str) -> Value {
    of_type(&field.ty, prefix)
}

fn of_type(ty: &Type, prefix: &str) -> Value {
    match ty {
        Type::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Type::Struct(name) => json!({"allOf": [{"$ref": format!("{COMPONENTS}{prefix}{name}")}]}),
        Type::Map(value, _) => json!({"type": "object", "additionalProperties": of_type(value, prefix)}),
        Type::List(item, kind) => {
            let mut list = json!({"type": "array", "items": of_type(item, prefix)});
            list["x-kubernetes-list-type"] = match kind {
                ListKind::Atomic => "atomic".into(),
                ListKind::Set => "set".into(),
                ListKind::Keyed(keys) => {
                    list["x-kubernetes-list-map-keys"] = json!(keys);
                    "map".into()
                }
            };
            list
        }
        Type::Scalar(scalar) => match scalar {
            Scalar::String | Scalar::Quantity => json!({"type": "string"}),
            Scalar::Integer => json!({"type": "integer", "format": "int64"}),
            Scalar::Number => json!({"type": "number", "format": "double"}),
            Scalar::Boolean => json!({"type": "boolean"}),
            Scalar::Time => json!({"type": "string", "format": "date-time"}),
            Scalar::Bytes => json!({"type": "string", "format": "byte"}),
            Scalar::IntOrString => {
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true})
            }
        },
    }
}
