//! Holds what a client sent against the kind's schema.

use super::options::{Validation, WriteOptions};
use crate::api::{
    catalog::Resource,
    error::{ApiError, Result},
    object,
    schema::{self, check::Mistyped},
};
use serde_json::Value;

/// Drops fields that are not known, refuses them when the client wants that, and refuses values of a wrong type.
/// `whole` says that the client sent the whole object and not a patch: the words differ.
pub(crate) fn check_structure(
    resource: &Resource,
    value: &mut Value,
    options: &WriteOptions,
    whole: bool,
) -> Result<Vec<String>> {
    let findings = schema::check::check(schema::of(resource), value);
    let unknown: Vec<String> =
        findings.unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    if options.validation == Validation::Strict && !unknown.is_empty() {
        let why = format!("strict decoding error: {}", unknown.join(", "));
        return Err(ApiError::bad_request(if whole { cannot_handle(resource, &why) } else { why }));
    }
    if let Some(first) = findings.mistyped.first() {
        return Err(mistyped(resource, value, first, &findings.mistyped));
    }
    if !findings.missing.is_empty() {
        return Err(ApiError::invalid(resource, object::name(value), &findings.missing));
    }
    Ok(if options.validation == Validation::Warn { unknown } else { Vec::new() })
}

/// The same for an applied object, where unknown fields are refused whatever the client wants: there is nobody who could
/// own them.
pub(crate) fn check_applied(
    resource: &Resource,
    value: &mut Value,
    options: &WriteOptions,
) -> Result<Vec<String>> {
    let unknown = schema::check::check(schema::of(resource), &mut value.clone()).unknown;
    if !unknown.is_empty() {
        let problems: Vec<String> =
            unknown.iter().map(|path| format!(".{path}: field not declared in schema")).collect();
        let namespace = object::text(value, "/metadata/namespace").unwrap_or_default();
        let place = format!("{namespace}/{}", object::name(value));
        return Err(ApiError::untyped(resource, &place, &problems));
    }
    check_structure(resource, value, options, false)
}

fn cannot_handle(resource: &Resource, why: &str) -> String {
    let kind = resource.kind;
    format!("{kind} in version {:?} cannot be handled as a {kind}: {why}", resource.version)
}

/// Kinds that are built into a real server are decoded into Go structures, the others are held against a schema.
fn mistyped(resource: &Resource, value: &Value, first: &Mistyped, all: &[Mistyped]) -> ApiError {
    if resource.is_custom() {
        let errors: Vec<_> = all.iter().map(Mistyped::field_error).collect();
        return ApiError::invalid(resource, object::name(value), &errors);
    }
    let why = format!(
        "json: cannot unmarshal {} into Go struct field {}.{} of type {}",
        first.found, resource.kind, first.path, first.wanted
    );
    ApiError::bad_request(cannot_handle(resource, &why))
}
