//! Changing an object that is there: read, change, check, write; again when someone else was quicker.

use serde_json::{Value, json};

use std::sync::Arc;

use http::Method;

use super::{Operation, Outcome, WriteOptions};
use crate::{
    api::{
        admission::{self, Review},
        dispatch::Call,
        error::{ApiError, FieldError, Result},
        managed, names, object,
    },
    store::{Expect, Object, Store, WriteError},
};

/// Tries before a busy object is given up on.
const TRIES: usize = 10;
/// Metadata that only the server changes.
const SERVER_OWNED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
    "selfLink",
    "generateName",
];

/// Which part of the object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything but the status.
    Main,
    /// Only the status.
    Status,
}

/// What an object is to become.
pub(crate) struct Changed {
    pub(crate) value: Value,
    /// The client named the version it changed: a newer one is a conflict, not a reason to try again.
    pub(crate) version: Option<String>,
}

// === impl Scope ===

impl Scope {
    /// The part a path is about.
    pub(crate) fn of(call: &Call) -> Result<Self> {
        match call.subresource.as_deref() {
            None => Ok(Self::Main),
            Some("status") => Ok(Self::Status),
            Some("finalize") => Ok(Self::Main),
            Some(_) => Err(ApiError::method_not_allowed()),
        }
    }
}

// === impl Changed ===

impl Changed {
    /// A change whose `resourceVersion`, if any, is the client's.
    pub(crate) fn from_client(value: Value) -> Self {
        let version = object::text(&value, "/metadata/resourceVersion").filter(|v| !v.is_empty());
        let version = version.map(str::to_owned);
        Self { value, version }
    }
}

/// Applies `change` to the named object.
pub(crate) async fn update(
    call: &Call,
    name: &str,
    scope: Scope,
    options: &WriteOptions,
    mut change: impl FnMut(&Value) -> Result<Changed>,
) -> Result<Outcome> {
    let key = call.key(name);
    for _ in 0..TRIES {
        let current = call.api.store().get(&key).ok_or_else(|| ApiError::not_found(call.resource, name))?;
        let old = current.value();
        let changed = change(&old)?;
        check_preconditions(call, &current, &changed)?;
        let mut new = changed.value;
        let warnings = prepare(call, &old, &mut new, scope, options)?;
        if same(&old, &new) {
            return Ok(Outcome { json: current.json().clone(), created: false, warnings });
        }
        if options.dry_run {
            return Ok(Outcome { json: new.to_string().into(), created: false, warnings });
        }
        match put_or_finish(call.api.store(), &current, new).await {
            Ok(object) => return Ok(Outcome { json: object.json().clone(), created: false, warnings }),
            Err(WriteError::Conflict(_)) if changed.version.is_none() => {}
            Err(error) => return Err(ApiError::write(call.resource, name, &error)),
        }
    }
    Err(ApiError::stale(call.resource, name))
}

/// Writes a changed object; one that is being deleted and has nothing left to wait for goes.
pub(crate) async fn put_or_finish(
    store: &Store,
    current: &Object,
    new: Value,
) -> Result<Arc<Object>, WriteError> {
    let key = current.key().clone();
    if is_finished(&new) {
        store.delete(key, new, current.revision()).await
    } else {
        store.put(key, new, Expect::Revision(current.revision())).await
    }
}

fn check_preconditions(call: &Call, current: &Object, changed: &Changed) -> Result<()> {
    let name = &current.key().name;
    let uid = object::text(&changed.value, "/metadata/uid").unwrap_or_default();
    if !uid.is_empty() && uid != current.uid() {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", current.uid());
        return Err(ApiError::conflict(call.resource, name, &why));
    }
    match &changed.version {
        Some(version) if *version != current.revision().to_string() => {
            Err(ApiError::stale(call.resource, name))
        }
        _ => Ok(()),
    }
}

/// Makes the change a lawful one: what the server owns stays, the other part of the object stays, and what is new is
/// checked.
fn prepare(
    call: &Call,
    old: &Value,
    new: &mut Value,
    scope: Scope,
    options: &WriteOptions,
) -> Result<Vec<String>> {
    super::check_kind(call.resource, new)?;
    let whole = call.method == Method::PUT;
    let warnings = super::check_structure(call.resource, new, options, whole)?;
    keep_server_owned(old, new);
    match scope {
        Scope::Main => keep_status(call, old, new),
        Scope::Status => keep_all_but_status(old, new),
    }
    let status = scope == Scope::Status;
    let review = Review {
        resource: call.resource,
        store: call.api.store(),
        user: &call.user.0,
        old: Some(old),
        status,
    };
    admission::fill_in(&review, new);
    let errors = check(call, old, new);
    if !errors.is_empty() {
        return Err(ApiError::invalid(call.resource, object::name(old), &errors));
    }
    admission::judge(&review, new)?;
    if call.resource.generation && object::spec_differs(old, new) {
        let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        object::metadata_mut(new).insert("generation".into(), json!(generation + 1));
    }
    if options.operation == Operation::Update {
        managed::update(call.resource, Some(old), new, call.subresource.as_deref(), options);
    }
    Ok(warnings)
}

fn keep_server_owned(old: &Value, new: &mut Value) {
    let owned = old["metadata"].as_object();
    let metadata = object::metadata_mut(new);
    for field in SERVER_OWNED {
        object::carry(owned, metadata, field);
    }
}

fn keep_status(call: &Call, old: &Value, new: &mut Value) {
    if call.resource.has_status()
        && let Some(map) = new.as_object_mut()
    {
        object::carry(old.as_object(), map, "status");
    }
}

fn keep_all_but_status(old: &Value, new: &mut Value) {
    let status = new.get_mut("status").map(Value::take);
    let managed = new.pointer_mut("/metadata/managedFields").map(Value::take);
    *new = old.clone();
    if let Some(map) = new.as_object_mut() {
        map.shift_remove("status");
        map.extend(status.map(|status| ("status".to_owned(), status)));
    }
    object::metadata_mut(new).extend(managed.map(|managed| ("managedFields".to_owned(), managed)));
}

fn check(call: &Call, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = names::check_metadata(call.resource, new);
    if object::text(old, "/metadata/deletionTimestamp").is_some() {
        let before = object::strings(old, "/metadata/finalizers");
        let mut added = object::strings(new, "/metadata/finalizers");
        added.retain(|f| !before.contains(f));
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", why));
        }
    }
    errors
}

/// Whether nothing was changed that counts.
fn same(old: &Value, new: &Value) -> bool {
    let essence = |value: &Value| {
        let mut value = value.clone();
        let metadata = object::metadata_mut(&mut value);
        metadata.shift_remove("resourceVersion");
        for entry in metadata.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            entry.as_object_mut().map(|entry| entry.shift_remove("time"));
        }
        value
    };
    essence(old) == essence(new)
}

/// Whether an object that is being deleted has nothing left to wait for.
fn is_finished(value: &Value) -> bool {
    object::text(value, "/metadata/deletionTimestamp").is_some()
        && value.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) == 0
        && object::strings(value, "/metadata/finalizers").is_empty()
        && object::strings(value, "/spec/finalizers").is_empty()
}
