//! One manager's entry in `managedFields`.

use std::fmt;

use serde_json::{Value, json};

use crate::api::{
    catalog::Resource,
    fields::FieldSet,
    object,
    write::{Operation, WriteOptions},
};

/// A manager and its fields.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: Option<String>,
    pub(super) time: String,
    pub(super) set: FieldSet,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(
        resource: &Resource,
        subresource: Option<&str>,
        options: &WriteOptions,
        set: FieldSet,
    ) -> Self {
        Self {
            manager: options.manager.clone(),
            operation: options.operation,
            api_version: resource.api_version().to_owned(),
            subresource: subresource.map(str::to_owned),
            time: object::now(),
            set,
        }
    }

    /// Whether this is the entry that a write goes to.
    pub(super) fn is(&self, resource: &Resource, subresource: Option<&str>, options: &WriteOptions) -> bool {
        self.manager == options.manager
            && self.operation == options.operation
            && self.api_version == resource.api_version()
            && self.subresource.as_deref() == subresource
    }

    pub(super) fn decode(value: &Value) -> Option<Self> {
        let text = |pointer| object::text(value, pointer).map(str::to_owned);
        let operation = match value.get("operation")?.as_str()? {
            "Apply" => Operation::Apply,
            _ => Operation::Update,
        };
        Some(Self {
            manager: text("/manager")?,
            operation,
            api_version: text("/apiVersion")?,
            subresource: text("/subresource"),
            time: text("/time").unwrap_or_default(),
            set: FieldSet::decode(value.get("fieldsV1")?),
        })
    }

    pub(super) fn encode(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut value = json!({
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.set.encode(),
        });
        if let Some(subresource) = &self.subresource {
            value["subresource"] = subresource.as_str().into();
        }
        value
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.manager)?;
        if let Some(subresource) = &self.subresource {
            write!(f, " with subresource {subresource:?}")?;
        }
        if self.operation == Operation::Apply {
            return Ok(());
        }
        write!(f, " using {}", self.api_version)
    }
}
