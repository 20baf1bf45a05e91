//! What a webhook finds wrong, in the form that Knative and Tekton share: a message, the fields, perhaps details.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A list of findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Problems(Vec<Problem>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    message: String,
    paths: Vec<String>,
    details: String,
}

// === impl Problems ===

impl Problems {
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// A finding of any kind.
    pub(super) fn of(message: impl Into<String>, paths: &[&str]) -> Self {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Self(vec![Problem { message: message.into(), paths, details: String::new() }])
    }

    pub(super) fn missing(path: &str) -> Self {
        Self::of("missing field(s)", &[path])
    }

    pub(super) fn disallowed(path: &str) -> Self {
        Self::of("must not set the field(s)", &[path])
    }

    pub(super) fn neither(paths: &[&str]) -> Self {
        Self::of("expected exactly one, got neither", paths)
    }

    pub(super) fn both(paths: &[&str]) -> Self {
        Self::of("expected exactly one, got both", paths)
    }

    pub(super) fn invalid(value: impl fmt::Display, path: &str) -> Self {
        Self::of(format!("invalid value: {value}"), &[path])
    }

    pub(super) fn bad_key(key: &str, path: &str) -> Self {
        Self::of(format!("invalid key name {key:?}"), &[path])
    }

    pub(super) fn out_of_bounds(
        value: impl fmt::Display,
        low: impl fmt::Display,
        high: impl fmt::Display,
        path: &str,
    ) -> Self {
        Self::of(format!("expected {low} <= {value} <= {high}"), &[path])
    }

    /// The same with details.
    pub(super) fn because(mut self, details: impl Into<String>) -> Self {
        let details = details.into();
        for problem in &mut self.0 {
            problem.details.clone_from(&details);
        }
        self
    }

    /// Adds findings.
    pub(super) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The same, seen from the parent.
    pub(super) fn under(mut self, field: &str) -> Self {
        for path in self.0.iter_mut().flat_map(|problem| &mut problem.paths) {
            *path = match path.as_str() {
                "" => field.to_owned(),
                indexed if indexed.starts_with('[') => format!("{field}{indexed}"),
                other => format!("{field}.{other}"),
            };
        }
        self
    }

    /// The same, seen from the list the thing is in.
    pub(super) fn at(self, index: usize) -> Self {
        self.under(&format!("[{index}]"))
    }

    /// The same, seen from the parent of that list.
    pub(super) fn within(self, field: &str, index: usize) -> Self {
        self.at(index).under(field)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Equal messages are said once, with all their fields; the order is that of the messages.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut merged: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for problem in &self.0 {
            let paths = merged.entry((&problem.message, &problem.details)).or_default();
            paths.extend(problem.paths.iter().map(String::as_str));
        }
        for (n, ((message, details), paths)) in merged.into_iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            let paths = paths.into_iter().collect::<Vec<_>>().join(", ");
            write!(f, "{separator}{message}: {paths}")?;
            if !details.is_empty() {
                write!(f, "\n{details}")?;
            }
        }
        Ok(())
    }
}
