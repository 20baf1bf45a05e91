//! What there is to collect, decided from one consistent view of all objects.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    api::{
        catalog,
        delete::{FOREGROUND, ORPHAN},
        object,
    },
    store::{Object, OwnerRef},
};

/// How long events are kept, in seconds.
const EVENT_LIFETIME: i64 = 3600;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Step {
    /// Delete an object.
    Delete { object: Arc<Object>, foreground: bool },
    /// Write an object anew.
    Change { object: Arc<Object>, value: Value },
    /// Give a namespace the ServiceAccount it must have.
    ServiceAccount { namespace: String },
}

/// All objects, and who owns whom.
struct World<'a> {
    objects: &'a [Arc<Object>],
    by_uid: HashMap<&'a str, &'a Arc<Object>>,
    dependents: HashMap<&'a str, Vec<&'a Arc<Object>>>,
}

/// What has become of an owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It is there.
    Solid,
    /// It is there and waits for what it owns to go.
    Waiting,
    /// It is gone.
    Gone,
}

/// Everything that is to be done now.
pub(super) fn plan(objects: &[Arc<Object>]) -> Vec<Step> {
    let world = World::of(objects);
    let mut steps: Vec<Step> = objects.iter().filter_map(|object| world.orphaned(object)).collect();
    for object in objects.iter().filter(|object| object.is_terminating()) {
        steps.extend(world.finish(object));
    }
    steps.extend(world.namespaces());
    steps
}

// === impl World ===

impl<'a> World<'a> {
    fn of(objects: &'a [Arc<Object>]) -> Self {
        let by_uid = objects.iter().map(|object| (object.uid(), object)).collect();
        let mut dependents: HashMap<&str, Vec<&Arc<Object>>> = HashMap::new();
        for object in objects {
            for owner in object.owners() {
                dependents.entry(owner.uid.as_str()).or_default().push(object);
            }
        }
        Self { objects, by_uid, dependents }
    }

    /// What a reference points to. An owner of a kind that is not served here is left to whoever serves it.
    fn owner(&self, object: &Object, owner: &OwnerRef) -> Owner {
        let Some(resource) = catalog::find_kind(&owner.api_version, &owner.kind) else { return Owner::Solid };
        let found = self.by_uid.get(owner.uid.as_str()).filter(|found| {
            let key = found.key();
            key.resource == resource.qualified()
                && key.name == owner.name
                && (key.namespace.is_empty() || key.namespace == object.key().namespace)
        });
        match found {
            None => Owner::Gone,
            Some(found) if has_finalizer(found, FOREGROUND) => Owner::Waiting,
            Some(_) => Owner::Solid,
        }
    }

    /// An object without a solid owner goes; one that has another loses the references to the others.
    fn orphaned(&self, object: &Arc<Object>) -> Option<Step> {
        if object.owners().is_empty() {
            return None;
        }
        let fates: Vec<Owner> = object.owners().iter().map(|owner| self.owner(object, owner)).collect();
        if fates.iter().all(|fate| *fate == Owner::Solid) {
            return None;
        }
        if fates.contains(&Owner::Solid) {
            let gone = object.owners().iter().zip(&fates).filter(|(_, fate)| **fate != Owner::Solid);
            let uids: HashSet<&str> = gone.map(|(owner, _)| owner.uid.as_str()).collect();
            return Some(without_owners(object, &uids));
        }
        if object.is_terminating() {
            return None;
        }
        let foreground = fates.contains(&Owner::Waiting) && self.dependents.contains_key(object.uid());
        Some(Step::Delete { object: Arc::clone(object), foreground })
    }

    /// What is left to do for an object on its way out.
    fn finish(&self, object: &Arc<Object>) -> Vec<Step> {
        let dependents = self.dependents.get(object.uid()).map(Vec::as_slice).unwrap_or_default();
        if has_finalizer(object, ORPHAN) {
            let uid = HashSet::from([object.uid()]);
            let mut steps: Vec<Step> = dependents.iter().map(|d| without_owners(d, &uid)).collect();
            if steps.is_empty() {
                steps.push(without_finalizer(object, ORPHAN));
            }
            return steps;
        }
        let blocks = |dependent: &&Arc<Object>| {
            dependent.owners().iter().any(|o| o.uid == object.uid() && o.block_owner_deletion)
        };
        if has_finalizer(object, FOREGROUND) && !dependents.iter().any(blocks) {
            return vec![without_finalizer(object, FOREGROUND)];
        }
        Vec::new()
    }

    /// Namespaces that go are emptied, the others have their ServiceAccount.
    fn namespaces(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for namespace in self.objects.iter().filter(|object| object.key().resource == "namespaces") {
            let name = namespace.key().name.as_str();
            let inside = || self.objects.iter().filter(|object| object.key().namespace == name);
            if namespace.is_terminating() {
                let left = inside().filter(|object| !object.is_terminating());
                steps.extend(left.map(|o| Step::Delete { object: Arc::clone(o), foreground: false }));
                if inside().next().is_none() {
                    let mut value = namespace.value();
                    if value["spec"].get("finalizers").is_some() {
                        value["spec"]["finalizers"] = json!([]);
                        steps.push(Step::Change { object: Arc::clone(namespace), value });
                    }
                }
            } else if !inside().any(|o| o.key().resource == "serviceaccounts" && o.key().name == "default") {
                steps.push(Step::ServiceAccount { namespace: name.to_owned() });
            }
        }
        steps
    }
}

fn has_finalizer(object: &Object, finalizer: &str) -> bool {
    object.is_terminating() && object::strings(&object.value(), "/metadata/finalizers").contains(&finalizer)
}

fn without_finalizer(object: &Arc<Object>, finalizer: &str) -> Step {
    let mut value = object.value();
    let metadata = object::metadata_mut(&mut value);
    if let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") {
        finalizers.retain(|f| f != finalizer);
    }
    Step::Change { object: Arc::clone(object), value }
}

fn without_owners(object: &Arc<Object>, uids: &HashSet<&str>) -> Step {
    let mut value = object.value();
    let metadata = object::metadata_mut(&mut value);
    if let Some(Value::Array(owners)) = metadata.get_mut("ownerReferences") {
        owners.retain(|owner| !owner["uid"].as_str().is_some_and(|uid| uids.contains(uid)));
        if owners.is_empty() {
            metadata.shift_remove("ownerReferences");
        }
    }
    Step::Change { object: Arc::clone(object), value }
}

/// Events that nobody needs any more.
pub(super) fn old_events(events: &[Arc<Object>], now: Timestamp) -> Vec<Arc<Object>> {
    let is_old = |event: &&Arc<Object>| {
        let value = event.value();
        let at = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
            .iter()
            .find_map(|pointer| object::text(&value, pointer)?.parse::<Timestamp>().ok());
        at.is_none_or(|at| now.as_second() - at.as_second() > EVENT_LIFETIME)
    };
    events.iter().filter(is_old).cloned().collect()
}
