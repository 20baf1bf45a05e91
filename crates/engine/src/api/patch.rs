//! `patch`: the four ways to say what changes.

use axum::{body::Body, response::Response};
use serde_json::Value;

use super::{
    body,
    dispatch::Call,
    error::{ApiError, FieldError, Result},
    render,
    write::{self, Changed, Operation, Scope, WriteOptions},
};

mod merge;

/// Media types of patches, for kinds of our own and for core ones.
const ACCEPTED: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// A parsed patch.
enum Patch {
    Merge(Value),
    Json(json_patch::Patch),
    Apply(Value),
}

/// `PATCH …/NAME`.
pub(crate) async fn patch(call: &Call, body: Body) -> Result<Response> {
    let bytes = body::read(body).await?;
    let patch = Patch::parse(call, &bytes)?;
    let operation = if matches!(patch, Patch::Apply(_)) { Operation::Apply } else { Operation::Update };
    let options = WriteOptions::from_call(call, operation)?;
    let scope = Scope::of(call)?;
    let change = |old: &Value| patch.change(call, old);
    let outcome = match write::update(call, call.name(), scope, &options, change).await {
        Err(error) if error.code() == 404 && operation == Operation::Apply && scope == Scope::Main => {
            let Patch::Apply(value) = patch else { return Err(error) };
            write::create_object(call, value, &options).await?
        }
        done => done?,
    };
    Ok(render::object(call, if outcome.created { 201 } else { 200 }, &outcome.json, &outcome.warnings))
}

// === impl Patch ===

impl Patch {
    fn parse(call: &Call, bytes: &[u8]) -> Result<Self> {
        match body::media_type(&call.headers) {
            "application/merge-patch+json" => Ok(Self::Merge(json(bytes)?)),
            "application/strategic-merge-patch+json" if !call.resource.is_custom() => {
                Ok(Self::Merge(json(bytes)?))
            }
            "application/json-patch+json" => serde_json::from_slice(bytes)
                .map(Self::Json)
                .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}"))),
            "application/apply-patch+yaml" => {
                let mut value = body::yaml(bytes)
                    .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?;
                write::check_kind(call.resource, &mut value)?;
                write::check_place(call, &mut value)?;
                Ok(Self::Apply(value))
            }
            _ => Err(ApiError::unsupported_media_type(ACCEPTED)),
        }
    }

    fn change(&self, call: &Call, old: &Value) -> Result<Changed> {
        let mut new = old.clone();
        match self {
            Self::Merge(patch) => {
                merge::merge(&mut new, patch);
                Ok(Changed { version: named_version(patch), value: new })
            }
            Self::Json(patch) => {
                json_patch::patch(&mut new, patch).map_err(|e| json_error(call, &e))?;
                let version = named_version(&new).filter(|v| named_version(old).as_ref() != Some(v));
                Ok(Changed { version, value: new })
            }
            Self::Apply(applied) => {
                merge::merge(&mut new, applied);
                Ok(Changed { version: named_version(applied), value: new })
            }
        }
    }
}

fn json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))
}

/// The version a patch insists on.
fn named_version(patch: &Value) -> Option<String> {
    let version = super::object::text(patch, "/metadata/resourceVersion")?;
    (!version.is_empty()).then(|| version.to_owned())
}

fn json_error(call: &Call, error: &json_patch::PatchError) -> ApiError {
    let why = FieldError::raw("FieldValueInvalid", "patch", format!("Invalid value: {error}"));
    ApiError::invalid(call.resource, call.name(), &[why])
}
