//! `patch`: the four ways to say what changes.

use axum::{body::Body, response::Response};
use serde_json::{Value, json};

use super::{
    body,
    dispatch::Call,
    error::{ApiError, FieldError, Result},
    managed, object, render, schema,
    write::{self, Changed, Operation, Scope, WriteOptions},
};

pub(super) mod merge;
pub(super) mod strategic;

/// Media types of patches. Kinds that a cluster defines by CRD know no strategic merge.
const ACCEPTED: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/strategic-merge-patch+json",
];
/// How many of them those kinds know.
const ACCEPTED_CUSTOM: usize = 3;
/// Most operations of a JSON patch.
const MAX_OPERATIONS: usize = 10_000;
/// Most bytes a JSON patch may copy.
const MAX_COPIED: usize = 3 << 20;

/// A parsed patch.
enum Patch {
    Merge(Value),
    Strategic(Value),
    Json(json_patch::Patch),
    Apply(Value),
}

/// `PATCH …/NAME`.
pub(crate) async fn patch(call: &Call, body: Body) -> Result<Response> {
    let bytes = body::read(body).await?;
    let mut patch = Patch::parse(call, &bytes)?;
    let options = WriteOptions::from_call(call, patch.operation())?;
    let scope = Scope::of(call)?;
    let mut warnings = patch.prepare(call, scope, &options)?;
    let change = |old: &Value| patch.change(call, old, &options);
    let outcome = match write::update(call, call.name(), scope, &options, change).await {
        Err(error) if error.code() == 404 && patch.creates(scope) => {
            let new = patch.change(call, &json!({}), &options)?.value;
            write::create_object(call, new, &options).await?
        }
        done => done?,
    };
    warnings.extend(outcome.warnings);
    Ok(render::object(call, if outcome.created { 201 } else { 200 }, &outcome.json, &warnings))
}

// === impl Patch ===

impl Patch {
    fn parse(call: &Call, bytes: &[u8]) -> Result<Self> {
        match body::media_type(&call.headers) {
            "application/merge-patch+json" => Ok(Self::Merge(decode(bytes)?)),
            "application/strategic-merge-patch+json" if !call.resource.is_custom() => {
                Ok(Self::Strategic(decode(bytes)?))
            }
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(bytes)
                    .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
                if patch.0.len() > MAX_OPERATIONS {
                    let why = format!(
                        "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                        patch.0.len()
                    );
                    return Err(ApiError::new(413, "RequestEntityTooLarge", why));
                }
                Ok(Self::Json(patch))
            }
            "application/apply-patch+yaml" => {
                let value = body::yaml(bytes);
                value.map(Self::Apply).map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))
            }
            _ if call.resource.is_custom() => {
                Err(ApiError::unsupported_media_type(&ACCEPTED[..ACCEPTED_CUSTOM]))
            }
            _ => Err(ApiError::unsupported_media_type(ACCEPTED)),
        }
    }

    fn operation(&self) -> Operation {
        match self {
            Self::Apply(_) => Operation::Apply,
            Self::Merge(_) | Self::Strategic(_) | Self::Json(_) => Operation::Update,
        }
    }

    /// Whether the object is made when it is not there.
    fn creates(&self, scope: Scope) -> bool {
        matches!(self, Self::Apply(_)) && scope == Scope::Main
    }

    /// Checks an applied object on its own, and leaves out the part that this path does not write.
    fn prepare(&mut self, call: &Call, scope: Scope, options: &WriteOptions) -> Result<Vec<String>> {
        let Self::Apply(applied) = self else { return Ok(Vec::new()) };
        if !applied.is_object() {
            return Err(ApiError::bad_request("error decoding YAML: an applied object must be a map"));
        }
        if applied
            .pointer("/metadata/managedFields")
            .is_some_and(|m| m.as_array().is_none_or(|m| !m.is_empty()))
        {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        for field in ["apiVersion", "kind"] {
            if object::text(applied, &format!("/{field}")).unwrap_or_default().is_empty() {
                return Err(ApiError::bad_request(format!(
                    "error decoding YAML: Object '{field}' is missing"
                )));
            }
        }
        write::check_kind(call.resource, applied)?;
        write::check_place(call, applied)?;
        let warnings = write::check_applied(call.resource, applied, options)?;
        if let Some(map) = applied.as_object_mut() {
            match scope {
                Scope::Main if call.resource.has_status() => drop(map.shift_remove("status")),
                Scope::Main => {}
                Scope::Status => {
                    map.retain(|key, _| {
                        matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status")
                    });
                }
            }
        }
        Ok(warnings)
    }

    fn change(&self, call: &Call, old: &Value, options: &WriteOptions) -> Result<Changed> {
        let mut new = old.clone();
        match self {
            Self::Merge(patch) => {
                merge::merge(&mut new, patch);
                Ok(Changed { version: named_version(patch), value: new })
            }
            Self::Strategic(patch) => {
                strategic::merge(&mut new, patch, schema::of(call.resource))
                    .map_err(ApiError::bad_request)?;
                Ok(Changed { version: named_version(patch), value: new })
            }
            Self::Json(patch) => {
                json(call, &mut new, patch)?;
                let version = named_version(&new).filter(|v| named_version(old).as_ref() != Some(v));
                Ok(Changed { version, value: new })
            }
            Self::Apply(applied) => {
                let subresource = call.subresource.as_deref();
                let value = managed::apply(call.resource, old, applied, subresource, options)?;
                Ok(Changed { version: named_version(applied), value })
            }
        }
    }
}

/// Applies the operations one by one. What is copied is counted: a few copies of copies make an object of any size.
fn json(call: &Call, value: &mut Value, patch: &json_patch::Patch) -> Result<()> {
    let mut copied = 0;
    for operation in &patch.0 {
        if let json_patch::PatchOperation::Copy(copy) = operation {
            copied += value.pointer(copy.from.as_str()).map_or(0, |source| source.to_string().len());
            if copied > MAX_COPIED {
                let why = format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                );
                return Err(ApiError::new(413, "RequestEntityTooLarge", why));
            }
        }
        json_patch::patch(value, std::slice::from_ref(operation)).map_err(|e| json_error(call, &e))?;
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<Value> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::bad_request("error decoding patch: a patch of this type must be a map"))
    }
}

/// The version a patch insists on.
fn named_version(patch: &Value) -> Option<String> {
    let version = object::text(patch, "/metadata/resourceVersion")?;
    (!version.is_empty()).then(|| version.to_owned())
}

fn json_error(call: &Call, error: &json_patch::PatchError) -> ApiError {
    let why = FieldError::raw("FieldValueInvalid", "patch", format!("Invalid value: {error}"));
    ApiError::invalid(call.resource, call.name(), &[why])
}
