//! `create` and `update`, and the steps every write goes through.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    admission::{self, Review},
    body,
    catalog::{self, Resource},
    dispatch::Call,
    error::{ApiError, FieldError, Result},
    managed, names, object, render,
};
use crate::store::{Expect, Key, WriteError};

mod options;
mod structure;
mod update;

pub(crate) use options::{Operation, WriteOptions};
pub(crate) use structure::{check_applied, check_structure};
pub(crate) use update::{Changed, Scope, put_or_finish, update};

/// Tries for a free generated name.
const GENERATE_TRIES: usize = 8;

/// What a write led to.
pub(crate) struct Outcome {
    /// The object as it is now (or would be, in a dry run).
    pub(crate) json: Bytes,
    /// Whether it is new.
    pub(crate) created: bool,
    /// What the client should know.
    pub(crate) warnings: Vec<String>,
}

/// `POST …`.
pub(crate) async fn create(call: &Call, body: Body) -> Result<Response> {
    let bytes = body::read(body).await?;
    let value = body::object(body::media_type(&call.headers), &bytes)?;
    let options = WriteOptions::from_call(call, Operation::Update)?;
    let outcome = create_object(call, value, &options).await?;
    Ok(render::object(call, 201, &outcome.json, &outcome.warnings))
}

/// `PUT …/NAME`.
pub(crate) async fn replace(call: &Call, body: Body) -> Result<Response> {
    let bytes = body::read(body).await?;
    let mut value = body::object(body::media_type(&call.headers), &bytes)?;
    let options = WriteOptions::from_call(call, Operation::Update)?;
    check_kind(call.resource, &mut value)?;
    check_place(call, &mut value)?;
    let scope = Scope::of(call)?;
    let change = |_: &Value| {
        if call.resource.is_custom() {
            check_version(call, &value)?;
        }
        Ok(Changed::from_client(value.clone()))
    };
    let outcome = update(call, call.name(), scope, &options, change).await?;
    Ok(render::object(call, 200, &outcome.json, &outcome.warnings))
}

/// Kinds that a cluster defines by CRD are only replaced by name of the version that is replaced.
fn check_version(call: &Call, value: &Value) -> Result<()> {
    if !object::text(value, "/metadata/resourceVersion").unwrap_or_default().is_empty() {
        return Ok(());
    }
    let message = "Invalid value: 0: must be specified for an update";
    let error = FieldError::raw("FieldValueInvalid", "metadata.resourceVersion", message);
    Err(ApiError::invalid(call.resource, call.name(), &[error]))
}

/// Creates an object from what a client sent.
pub(crate) async fn create_object(call: &Call, mut value: Value, options: &WriteOptions) -> Result<Outcome> {
    check_kind(call.resource, &mut value)?;
    check_place(call, &mut value)?;
    let prefix = object::text(&value, "/metadata/generateName").unwrap_or_default().to_owned();
    let generated = object::name(&value).is_empty() && !prefix.is_empty();
    for _ in 1..GENERATE_TRIES {
        let mut named = value.clone();
        if generated {
            object::metadata_mut(&mut named).insert("name".into(), object::generate_name(&prefix).into());
        }
        match create_named(call, named, options).await {
            Err(error) if generated && error.reason() == "AlreadyExists" => {}
            done => return done,
        }
    }
    Err(ApiError::already_exists(call.resource, &prefix))
}

async fn create_named(call: &Call, mut value: Value, options: &WriteOptions) -> Result<Outcome> {
    let name = object::name(&value).to_owned();
    check_namespace(call, &name)?;
    let warnings = prepare_new(call, &mut value, options)?;
    let key = call.key(&name);
    if options.dry_run {
        if call.api.store().get(&key).is_some() {
            return Err(ApiError::already_exists(call.resource, &name));
        }
        return Ok(Outcome { json: value.to_string().into(), created: true, warnings });
    }
    let written = call.api.store().put(key, value, Expect::Absent).await;
    let written = written.map_err(|error| ApiError::write(call.resource, &name, &error))?;
    after_create(call, &name).await?;
    Ok(Outcome { json: written.json().clone(), created: true, warnings })
}

/// Fills in what the server owns and lets admission have its say.
fn prepare_new(call: &Call, value: &mut Value, options: &WriteOptions) -> Result<Vec<String>> {
    let resource = call.resource;
    if !object::text(value, "/metadata/resourceVersion").unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if resource.has_status() {
        value.as_object_mut().map(|map| map.shift_remove("status"));
    }
    let warnings = check_structure(resource, value, options, true)?;
    let metadata = object::metadata_mut(value);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.shift_remove(field);
    }
    metadata.insert("uid".into(), object::new_uid().into());
    metadata.insert("creationTimestamp".into(), object::now().into());
    if resource.generation {
        metadata.insert("generation".into(), json!(1));
    }
    let store = call.api.store();
    let review = Review { resource, store, user: &call.user.0, old: None, status: false };
    admission::fill_in(&review, value);
    let errors = names::check_metadata(resource, value);
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, object::name(value), &errors));
    }
    admission::judge(&review, value)?;
    if options.operation == Operation::Update {
        object::metadata_mut(value).shift_remove("managedFields");
        managed::update(resource, None, value, None, options);
    }
    Ok(warnings)
}

/// What comes with a new object: a namespace has a ServiceAccount.
async fn after_create(call: &Call, name: &str) -> Result<()> {
    if call.resource.qualified() != "namespaces" {
        return Ok(());
    }
    let (key, value) = super::bootstrap::service_account(name);
    match call.api.store().put(key, value, Expect::Absent).await {
        Ok(_) | Err(WriteError::Exists(_)) => Ok(()),
        Err(error) => Err(ApiError::write(call.resource, name, &error)),
    }
}

/// The namespace of a new object must be there, and not on its way out.
fn check_namespace(call: &Call, name: &str) -> Result<()> {
    let Some(namespace) = call.namespace.as_deref() else { return Ok(()) };
    let namespaces = catalog::find("", "v1", "namespaces").ok_or_else(ApiError::no_such_path)?;
    let found = call.api.store().get(&Key::new(namespaces.qualified(), "", namespace));
    let found = found.ok_or_else(|| ApiError::not_found(namespaces, namespace))?;
    if found.is_terminating() {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(ApiError::forbidden(call.resource, name, &why));
    }
    Ok(())
}

/// The object must be of the kind that the path is about.
pub(crate) fn check_kind(resource: &Resource, value: &mut Value) -> Result<()> {
    let version = object::text(value, "/apiVersion").unwrap_or_default();
    let kind = object::text(value, "/kind").unwrap_or_default();
    if !version.is_empty() && version != resource.api_version() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            resource.api_version()
        )));
    }
    if !kind.is_empty() && kind != resource.kind {
        return Err(ApiError::bad_request(format!(
            "the kind in the data ({kind}) does not match the expected kind ({})",
            resource.kind
        )));
    }
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), resource.api_version().into());
        map.insert("kind".into(), resource.kind.into());
    }
    Ok(())
}

/// The object's name and namespace must be those of the path, when it has them.
pub(crate) fn check_place(call: &Call, value: &mut Value) -> Result<()> {
    let (name, namespace) = (object::name(value), object::namespace(value));
    let of_path = call.namespace.as_deref().unwrap_or_default();
    if !namespace.is_empty() && namespace != of_path {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !call.name().is_empty() && !name.is_empty() && name != call.name() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    let metadata = object::metadata_mut(value);
    if let Some(namespace) = &call.namespace {
        metadata.insert("namespace".into(), namespace.as_str().into());
    } else {
        metadata.shift_remove("namespace");
    }
    if let Some(name) = &call.name {
        metadata.insert("name".into(), name.as_str().into());
    }
    Ok(())
}
