//! `metadata.managedFields`: who owns which fields, and server-side apply over it.

use serde_json::{Value, json};

use super::{
    catalog::Resource,
    error::{ApiError, Result},
    fields::{self, FieldSet},
    object,
    schema::{self, Typed},
    write::{Operation, WriteOptions},
};

mod entry;

use entry::Entry;

/// Managers by update that are told apart; the oldest ones beyond that become one.
const MAX_UPDATERS: usize = 10;
/// What they become.
const ANCIENT: &str = "ancient-changes";

/// Everyone's fields.
#[derive(Clone, Debug)]
pub(crate) struct Managers(Vec<Entry>);

/// Applies `applied` to `live`: the merged object, without the fields this manager no longer applies, and with the new
/// ownership in its metadata.
pub(crate) fn apply(
    resource: &Resource,
    live: &Value,
    applied: &Value,
    subresource: Option<&str>,
    options: &WriteOptions,
) -> Result<Value> {
    let typed = schema::of(resource);
    let mut managers = Managers::of(live);
    let named = FieldSet::of_applied(applied, typed);
    let own = own_fields(named.clone(), resource, subresource);
    let mut merged = bare(live);
    fields::merge(&mut merged, &bare(applied), typed);
    let last = managers.replace(resource, subresource, options, own);
    // What nobody can own counts here all the same: the object's name keeps its metadata.
    let owned = managers.all().union(&named).with_named_fields(typed);
    let dropped = last.with_named_fields(typed).difference(&owned);
    fields::remove(&mut merged, &dropped, typed);
    managers.settle(resource, live, &merged, subresource, options, typed)?;
    managers.store(&mut merged);
    Ok(merged)
}

/// Gives `options.manager` the fields that differ between `live` and `new`, and writes the result into `new`.
pub(crate) fn update(
    resource: &Resource,
    live: Option<&Value>,
    new: &mut Value,
    subresource: Option<&str>,
    options: &WriteOptions,
) {
    let typed = schema::of(resource);
    let mut managers = Managers::sent(live, new);
    let old = live.map_or_else(|| json!({}), bare);
    let diff = fields::compare(&old, &bare(new), typed);
    managers.disown(&diff, |entry| entry.is(resource, subresource, options));
    let gained = own_fields(diff.added.union(&diff.modified), resource, subresource);
    let had = managers.fields_of(resource, subresource, options);
    let own = had.difference(&diff.removed).union(&gained);
    if own != had {
        managers.replace(resource, subresource, options, own);
    }
    managers.limit();
    managers.store(new);
}

/// Leaves out what nobody can own, and what the other endpoint writes.
fn own_fields(set: FieldSet, resource: &Resource, subresource: Option<&str>) -> FieldSet {
    let mut set = set.without(&["apiVersion"]).without(&["kind"]);
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ] {
        set = set.without(&["metadata", field]);
    }
    set = set.without_itself("metadata");
    match subresource {
        Some("status") => set.without(&["spec"]).without(&["metadata"]),
        _ if resource.has_status() => set.without(&["status"]),
        _ => set,
    }
}

/// The object without its `managedFields`.
fn bare(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    value
}

// === impl Managers ===

impl Managers {
    fn of(value: &Value) -> Self {
        let entries = value.pointer("/metadata/managedFields").and_then(Value::as_array);
        Self(entries.into_iter().flatten().filter_map(Entry::decode).collect())
    }

    /// The ownership a client sent back: its own list (an empty one starts anew), else the live one.
    fn sent(live: Option<&Value>, new: &Value) -> Self {
        match new.pointer("/metadata/managedFields") {
            Some(Value::Array(_)) => Self::of(new),
            _ => live.map_or(Self(Vec::new()), Self::of),
        }
    }

    fn all(&self) -> FieldSet {
        self.0.iter().fold(FieldSet::default(), |all, entry| all.union(&entry.set))
    }

    fn fields_of(&self, resource: &Resource, sub: Option<&str>, options: &WriteOptions) -> FieldSet {
        let own = self.0.iter().find(|entry| entry.is(resource, sub, options));
        own.map(|entry| entry.set.clone()).unwrap_or_default()
    }

    /// Sets a manager's fields; the ones it had come back.
    fn replace(
        &mut self,
        resource: &Resource,
        sub: Option<&str>,
        options: &WriteOptions,
        set: FieldSet,
    ) -> FieldSet {
        match self.0.iter_mut().find(|entry| entry.is(resource, sub, options)) {
            Some(entry) if entry.set == set => set,
            Some(entry) => {
                entry.time = object::now();
                std::mem::replace(&mut entry.set, set)
            }
            None => {
                self.0.push(Entry::new(resource, sub, options, set));
                FieldSet::default()
            }
        }
    }

    /// Takes the changed fields away from everybody else.
    fn disown(&mut self, diff: &fields::Diff, is_own: impl Fn(&Entry) -> bool) {
        let taken = diff.added.union(&diff.modified).union(&diff.removed);
        for entry in self.0.iter_mut().filter(|entry| !is_own(entry)) {
            entry.set = entry.set.difference(&taken);
        }
    }

    /// Refuses to change fields of others, or takes them over when forced.
    fn settle(
        &mut self,
        resource: &Resource,
        live: &Value,
        merged: &Value,
        sub: Option<&str>,
        options: &WriteOptions,
        typed: Typed,
    ) -> Result<()> {
        let diff = fields::compare(&bare(live), merged, typed);
        let changed = diff.added.union(&diff.modified);
        let others = self.0.iter().filter(|entry| !entry.is(resource, sub, options));
        let conflicts: Vec<(&Entry, Vec<String>)> = others
            .map(|entry| (entry, entry.set.intersection(&changed).paths()))
            .filter(|(_, paths)| !paths.is_empty())
            .collect();
        if !options.force && !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
        self.disown(&diff, |entry| entry.is(resource, sub, options));
        Ok(())
    }

    /// Makes the oldest updaters one when there are too many.
    fn limit(&mut self) {
        self.0.retain(|entry| !entry.set.is_empty());
        let mut updaters: Vec<usize> =
            (0..self.0.len()).filter(|n| self.0[*n].operation == Operation::Update).collect();
        if updaters.len() <= MAX_UPDATERS {
            return;
        }
        updaters.sort_by(|a, b| self.0[*a].time.cmp(&self.0[*b].time));
        let surplus = &updaters[..=updaters.len() - MAX_UPDATERS];
        let mut ancient = self.0[surplus[0]].clone();
        ancient.manager = ANCIENT.to_owned();
        ancient.set = surplus.iter().fold(FieldSet::default(), |all, n| all.union(&self.0[*n].set));
        let mut place = 0;
        self.0.retain(|_| {
            place += 1;
            !surplus.contains(&(place - 1))
        });
        self.0.push(ancient);
    }

    fn store(mut self, value: &mut Value) {
        self.0.retain(|entry| !entry.set.is_empty());
        self.0.sort_by(|a, b| {
            (a.operation == Operation::Update, &a.time, &a.manager).cmp(&(
                b.operation == Operation::Update,
                &b.time,
                &b.manager,
            ))
        });
        let metadata = object::metadata_mut(value);
        if self.0.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), self.0.iter().map(Entry::encode).collect());
        }
    }
}

/// The refusal, in the server's words.
fn conflict(conflicts: &[(&Entry, Vec<String>)]) -> ApiError {
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(entry, paths)| paths.iter().map(move |path| (entry, path)))
        .map(|(entry, path)| {
            json!({"reason": "FieldManagerConflict", "field": path, "message": format!("conflict with {entry}")})
        })
        .collect();
    let message = match conflicts {
        [(entry, paths)] if paths.len() == 1 => {
            format!("Apply failed with 1 conflict: conflict with {entry}: {}", paths[0])
        }
        many => {
            let lines = many
                .iter()
                .map(|(entry, paths)| format!("conflicts with {entry}:\n- {}", paths.join("\n- ")));
            format!("Apply failed with {} conflicts: {}", causes.len(), lines.collect::<Vec<_>>().join("\n"))
        }
    };
    ApiError::new(409, "Conflict", message).with_details(json!({"causes": causes}))
}

#[cfg(test)]
mod tests;
