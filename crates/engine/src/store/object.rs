//! A stored object: its JSON text as it goes to clients, and the few facts that are asked for often.
//!
//! The text is kept instead of a tree: it is what list and watch send, and it takes a fraction of the memory.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// Where an object lives: resource (`pods`, `services.serving.knative.dev`), namespace ("" for none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Plural name, with the group behind a dot when there is one.
    pub resource: String,
    /// Empty for objects that live in no namespace.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

/// An object at one revision.
#[derive(Debug)]
pub struct Object {
    key: Key,
    revision: u64,
    json: Bytes,
    facts: Facts,
}

/// One entry of `metadata.ownerReferences`, as far as garbage collection needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerRef {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner: what decides.
    pub uid: String,
    /// Whether a foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Facts {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: String,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerRef>>,
    deletion_timestamp: Option<String>,
}

// === impl Key ===

impl Key {
    /// A key from its three parts.
    pub fn new(resource: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }

    /// The key as the store file spells it.
    pub(super) fn encode(&self) -> String {
        format!("{}/{}/{}", self.resource, self.namespace, self.name)
    }

    /// The opposite of [`Key::encode`].
    pub(super) fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        Some(Self::new(parts.next()?, parts.next()?, parts.next()?))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.resource, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.resource, self.name),
        }
    }
}

// === impl Object ===

impl Object {
    /// Reads the facts out of the text.
    pub(super) fn parse(key: Key, revision: u64, json: Bytes) -> Result<Self, serde_json::Error> {
        let facts = serde_json::from_slice(&json)?;
        Ok(Self { key, revision, json, facts })
    }

    /// Where the object lives.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The revision of the write that made this state.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The object's JSON text.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The object as a tree.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("the text was parsed when the object was made")
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.facts.metadata.uid
    }

    /// The value of one label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.facts.metadata.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// `metadata.ownerReferences`.
    #[must_use]
    pub fn owners(&self) -> &[OwnerRef] {
        self.facts.metadata.owner_references.as_deref().unwrap_or_default()
    }

    /// Whether the object is on its way out.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.facts.metadata.deletion_timestamp.is_some()
    }
}
