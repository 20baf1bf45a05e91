//! What fields the served kinds have: condensed from the published schemas into a few kilobytes of text.
//!
//! Strict validation, server-side apply, strategic merge patches, OpenAPI and `kubectl explain` all read from it.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

use super::catalog::Resource;

pub(crate) mod check;
mod parse;

/// Fields that every served kind gets from [`parse`]d text.
static META: &str = include_str!("schema/meta.schema");
static CORE: LazyLock<Schema> = LazyLock::new(|| parse::parse(&[META, include_str!("schema/core.schema")]));
static SERVING: LazyLock<Schema> =
    LazyLock::new(|| parse::parse(&[META, include_str!("schema/serving.schema")]));
static TEKTON: LazyLock<Schema> =
    LazyLock::new(|| parse::parse(&[META, include_str!("schema/tekton.schema")]));
static SOURCES: LazyLock<Schema> =
    LazyLock::new(|| parse::parse(&[META, include_str!("schema/sources.schema")]));

/// The structures of one API group, by name.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    structs: BTreeMap<&'static str, Struct>,
}

/// One structure.
#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) name: &'static str,
    pub(crate) fields: BTreeMap<&'static str, Field>,
    /// Owned and replaced as a whole.
    pub(crate) atomic: bool,
    /// Takes fields that are not listed.
    pub(crate) open: bool,
}

/// One field of a structure.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) ty: Type,
    pub(crate) required: bool,
}

/// The type of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar(Scalar),
    /// Anything goes.
    Any,
    Struct(&'static str),
    List(Box<Type>, ListKind),
    /// A map of equal values; `true` when it is atomic.
    Map(Box<Type>, bool),
}

/// Types without inner structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Integer,
    Number,
    Boolean,
    Time,
    Bytes,
    Quantity,
    IntOrString,
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// They are not: the list is one value.
    Atomic,
    /// By themselves.
    Set,
    /// By the values of these fields.
    Keyed(Vec<&'static str>),
}

/// A type together with the schema its names are found in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Typed {
    schema: &'static Schema,
    ty: &'static Type,
}

/// How a value is owned and merged.
#[derive(Debug)]
pub(crate) enum Shape {
    /// As a whole.
    Leaf,
    /// Field by field.
    Fields,
    /// Item by item, told apart by these fields.
    Keyed(&'static [&'static str]),
    /// Item by item, told apart by themselves.
    Set,
}

static ANY: Type = Type::Any;

/// The type of a kind's objects.
pub(crate) fn of(resource: &Resource) -> Typed {
    let schema: &'static Schema = match resource.group {
        "serving.knative.dev" => &SERVING,
        "tekton.dev" => &TEKTON,
        "sources.knative.dev" => &SOURCES,
        _ => &CORE,
    };
    static ROOTS: LazyLock<BTreeMap<&'static str, Type>> = LazyLock::new(|| {
        super::catalog::RESOURCES
            .iter()
            .map(|resource| (resource.kind, Type::Struct(resource.kind)))
            .collect()
    });
    Typed { schema, ty: ROOTS.get(resource.kind).unwrap_or(&ANY) }
}

// === impl Typed ===

impl Typed {
    /// The type itself.
    pub(crate) fn ty(self) -> &'static Type {
        self.ty
    }

    /// The structure, when it is one.
    pub(crate) fn structure(self) -> Option<&'static Struct> {
        match self.ty {
            Type::Struct(name) => self.schema.structs.get(name),
            _ => None,
        }
    }

    /// Another type of the same schema.
    pub(crate) fn with(self, ty: &'static Type) -> Self {
        Self { ty, ..self }
    }

    /// The type of a field or of a map's value; anything goes where nothing is known.
    pub(crate) fn field(self, name: &str) -> Self {
        let ty = match self.ty {
            Type::Map(value, _) => value,
            Type::Struct(_) => {
                self.structure().and_then(|s| s.fields.get(name)).map_or(&ANY, |field| &field.ty)
            }
            _ => &ANY,
        };
        self.with(ty)
    }

    /// Whether `name` is a field that the structure lists.
    pub(crate) fn declares(self, name: &str) -> bool {
        self.structure().is_some_and(|s| s.fields.contains_key(name))
    }

    /// The type of a list's items.
    pub(crate) fn item(self) -> Self {
        match self.ty {
            Type::List(item, _) => self.with(item),
            _ => self.with(&ANY),
        }
    }

    /// How `value` is owned, given its type.
    pub(crate) fn shape(self, value: &Value) -> Shape {
        match (self.ty, value) {
            (Type::Map(_, false) | Type::Any, Value::Object(_)) => Shape::Fields,
            (Type::Struct(_), Value::Object(_)) if !self.structure().is_some_and(|s| s.atomic) => {
                Shape::Fields
            }
            (Type::List(_, ListKind::Keyed(keys)), Value::Array(_)) => Shape::Keyed(keys),
            (Type::List(_, ListKind::Set), Value::Array(_)) => Shape::Set,
            _ => Shape::Leaf,
        }
    }
}

// === impl Schema ===

impl Schema {
    /// All structures, by name.
    pub(crate) fn structs(&self) -> impl Iterator<Item = &Struct> {
        self.structs.values()
    }
}

/// The schema a kind's type is in.
pub(crate) fn schema_of(resource: &Resource) -> &'static Schema {
    of(resource).schema
}

#[cfg(test)]
mod tests;
