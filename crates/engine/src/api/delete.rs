//! `delete` and `deletecollection`.

use axum::{body::Body, response::Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    body,
    catalog::{self, Resource},
    dispatch::{Call, json_response, success},
    error::{self, ApiError, Result},
    object, render,
    selector::Selector,
};
use crate::store::{Expect, Object, Store, WriteError};

/// Tries before a busy object is given up on.
const TRIES: usize = 10;
/// How long a pod may take to end when nothing else is said.
const DEFAULT_GRACE: i64 = 30;

/// Namespaces that stay.
const KEPT: &[&str] = &["default", "kube-system", "kube-public"];

/// Finalizer of an owner that waits for what it owns.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to stay.
pub(crate) const ORPHAN: &str = "orphan";

/// `DeleteOptions`, from the body and the query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteOptions {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    dry_run: Vec<String>,
    preconditions: Option<Preconditions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// What a deletion led to.
enum Deleted {
    /// The object is gone; its last state.
    Gone(std::sync::Arc<Object>),
    /// The object is on its way out.
    Pending(std::sync::Arc<Object>),
    /// A dry run.
    Unchanged(std::sync::Arc<Object>),
}

/// `DELETE …/NAME`.
pub(crate) async fn delete(call: &Call, body: Body) -> Result<Response> {
    if call.subresource.is_some() {
        return Err(ApiError::method_not_allowed());
    }
    let options = DeleteOptions::read(call, body).await?;
    match delete_object(call, call.name(), &options).await? {
        Deleted::Gone(last) if returns_status(call) => {
            let mut details = error::details(call.resource, call.name());
            details["uid"] = last.uid().into();
            Ok(success(details))
        }
        Deleted::Gone(object) | Deleted::Pending(object) | Deleted::Unchanged(object) => {
            Ok(render::object(call, 200, object.json(), &[]))
        }
    }
}

/// Some kinds answer with what was deleted.
fn returns_status(call: &Call) -> bool {
    !matches!(call.resource.qualified(), "pods" | "serviceaccounts" | "services")
}

/// `DELETE …` of a collection.
pub(crate) async fn delete_collection(call: &Call, body: Body) -> Result<Response> {
    let selector = Selector::from_query(&call.query, call.resource)?;
    let options = DeleteOptions::read(call, body).await?;
    if call.namespace.is_none() && call.resource.namespaced {
        return Err(ApiError::method_not_allowed());
    }
    let page = call.api.store().list(call.resource.qualified(), call.namespace.as_deref());
    let mut items: Vec<Value> = Vec::new();
    for object in page.objects.iter().filter(|o| selector.matches(o)) {
        match delete_object(call, &object.key().name, &options).await {
            Ok(Deleted::Gone(o) | Deleted::Pending(o) | Deleted::Unchanged(o)) => items.push(o.value()),
            Err(error) if error.code() == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let list = json!({
        "kind": format!("{}List", call.resource.kind), "apiVersion": call.resource.api_version(),
        "metadata": {"resourceVersion": call.api.store().revision().to_string()}, "items": items,
    });
    Ok(json_response(200, list.to_string()))
}

/// Deletes an object for the garbage collector; `foreground` waits for what it owns.
pub(crate) async fn collect(store: &Store, object: &Object, foreground: bool) -> Result<(), WriteError> {
    let Some(resource) = catalog::find_qualified(&object.key().resource) else { return Ok(()) };
    let policy = if foreground { "Foreground" } else { "Background" };
    let options = DeleteOptions { propagation_policy: Some(policy.into()), ..DeleteOptions::default() };
    let old = object.value();
    match marked(resource, &old, &options) {
        Next::Remove => store.delete(object.key().clone(), old, object.revision()).await.map(drop),
        Next::Mark(new) if new == old => Ok(()),
        Next::Mark(new) => {
            store.put(object.key().clone(), new, Expect::Revision(object.revision())).await.map(drop)
        }
    }
}

async fn delete_object(call: &Call, name: &str, options: &DeleteOptions) -> Result<Deleted> {
    let store = call.api.store();
    let key = call.key(name);
    for _ in 0..TRIES {
        let current = store.get(&key).ok_or_else(|| ApiError::not_found(call.resource, name))?;
        options.check(call, &current)?;
        if call.resource.qualified() == "namespaces" && KEPT.contains(&name) {
            return Err(ApiError::forbidden(call.resource, name, "this namespace may not be deleted"));
        }
        let old = current.value();
        let new = marked(call.resource, &old, options);
        if !options.dry_run.is_empty() {
            return Ok(Deleted::Unchanged(current));
        }
        let written = match new {
            Next::Remove => store.delete(key.clone(), old, current.revision()).await.map(Deleted::Gone),
            Next::Mark(new) if new == old => return Ok(Deleted::Pending(current)),
            Next::Mark(new) => {
                store.put(key.clone(), new, Expect::Revision(current.revision())).await.map(Deleted::Pending)
            }
        };
        match written {
            Err(WriteError::Conflict(_)) => {}
            done => return done.map_err(|error| ApiError::write(call.resource, name, &error)),
        }
    }
    Err(ApiError::stale(call.resource, name))
}

/// What a deletion does to an object.
enum Next {
    Remove,
    Mark(Value),
}

fn marked(resource: &Resource, old: &Value, options: &DeleteOptions) -> Next {
    let grace = grace(resource, old, options);
    let mut new = old.clone();
    let metadata = object::metadata_mut(&mut new);
    let mut finalizers: Vec<Value> =
        metadata.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    finalizers.retain(|f| f != FOREGROUND && f != ORPHAN || options.propagation_policy.is_none());
    if let Some(finalizer) = options.finalizer()
        && !finalizers.iter().any(|f| f == finalizer)
    {
        finalizers.push(finalizer.into());
    }
    let waits = !finalizers.is_empty() || !object::strings(old, "/spec/finalizers").is_empty();
    if !waits && grace == 0 {
        return Next::Remove;
    }
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
    let before = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    if metadata.contains_key("deletionTimestamp") && before.is_none_or(|before| before <= grace) {
        return Next::Mark(new);
    }
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
    metadata.insert("deletionTimestamp".into(), object::time(at).into());
    metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
    if resource.generation {
        let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(0);
        metadata.insert("generation".into(), json!(generation + 1));
    }
    if resource.qualified() == "namespaces" {
        object::child_mut(&mut new, "status").insert("phase".into(), "Terminating".into());
    }
    Next::Mark(new)
}

/// How long the object may stay: only pods that run somewhere need time to end.
fn grace(resource: &Resource, old: &Value, options: &DeleteOptions) -> i64 {
    let phase = object::text(old, "/status/phase").unwrap_or_default();
    let bound = object::text(old, "/spec/nodeName").is_some_and(|node| !node.is_empty());
    if resource.qualified() != "pods" || !bound || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    let own = old.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    options.grace_period_seconds.or(own).unwrap_or(DEFAULT_GRACE).clamp(0, i64::from(i32::MAX))
}

// === impl DeleteOptions ===

impl DeleteOptions {
    async fn read(call: &Call, body: Body) -> Result<Self> {
        let bytes = body::read(body).await?;
        let mut options: Self = if bytes.is_empty() {
            Self::default()
        } else {
            let value = body::object(body::media_type(&call.headers), &bytes)?;
            serde_json::from_value(value).map_err(|e| ApiError::bad_request(e.to_string()))?
        };
        if let Some(grace) = call.query.number("gracePeriodSeconds")? {
            options.grace_period_seconds = Some(grace);
        }
        if let Some(policy) = call.query.get("propagationPolicy") {
            options.propagation_policy = Some(policy.to_owned());
        }
        options.dry_run.extend(call.query.all("dryRun").map(str::to_owned));
        if options.orphan_dependents == Some(true) {
            options.propagation_policy = Some("Orphan".into());
        }
        match options.propagation_policy.as_deref() {
            None | Some("Background" | "Foreground" | "Orphan") => Ok(options),
            Some(other) => Err(ApiError::new(
                422,
                "Invalid",
                format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {other:?}: \
                     supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                ),
            )),
        }
    }

    fn finalizer(&self) -> Option<&'static str> {
        match self.propagation_policy.as_deref() {
            Some("Foreground") => Some(FOREGROUND),
            Some("Orphan") => Some(ORPHAN),
            _ => None,
        }
    }

    fn check(&self, call: &Call, current: &Object) -> Result<()> {
        let Some(preconditions) = &self.preconditions else { return Ok(()) };
        let (key, revision) = (current.key(), current.revision().to_string());
        if let Some(uid) = preconditions.uid.as_deref().filter(|uid| *uid != current.uid()) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
                 deleted and then recreated",
                current.uid()
            );
            return Err(ApiError::precondition(call.resource, &key.name, &why));
        }
        if let Some(version) = preconditions.resource_version.as_deref().filter(|v| *v != revision) {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
                 ({revision}). The object might have been modified"
            );
            return Err(ApiError::precondition(call.resource, &key.name, &why));
        }
        Ok(())
    }
}
