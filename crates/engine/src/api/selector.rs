//! Label and field selectors.

use serde_json::Value;

use super::{
    catalog::Resource,
    error::{ApiError, Result},
    query::Query,
};
use crate::store::Object;

mod labels;

use labels::Labels;

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Labels,
    fields: Vec<FieldTerm>,
}

/// `metadata.name=x` or `status.phase!=x`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    pointer: String,
    equal: bool,
    value: String,
}

/// Fields every kind can be selected by.
const COMMON_FIELDS: &[&str] = &["metadata.name", "metadata.namespace"];

// === impl Selector ===

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    pub(crate) fn from_query(query: &Query, resource: &Resource) -> Result<Self> {
        let labels = Labels::parse(query.get("labelSelector").unwrap_or_default())
            .map_err(|why| ApiError::bad_request(format!("unable to parse requirement: {why}")))?;
        let fields = parse_fields(query.get("fieldSelector").unwrap_or_default(), resource)?;
        Ok(Self { labels, fields })
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        if !self.labels.matches(|name| object.label(name)) {
            return false;
        }
        let mut tree = None;
        self.fields.iter().all(|term| {
            let equal = match term.pointer.as_str() {
                "/metadata/name" => object.key().name == term.value,
                "/metadata/namespace" => object.key().namespace == term.value,
                pointer => text_at(tree.get_or_insert_with(|| object.value()), pointer) == term.value,
            };
            equal == term.equal
        })
    }
}

/// The scalar at a pointer as text; nothing there is the empty text.
fn text_at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn parse_fields(text: &str, resource: &Resource) -> Result<Vec<FieldTerm>> {
    text.split(',').filter(|term| !term.trim().is_empty()).map(|term| parse_field(term, resource)).collect()
}

fn parse_field(term: &str, resource: &Resource) -> Result<FieldTerm> {
    let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
        (field, false, value)
    } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (field, true, value)
    } else {
        return Err(ApiError::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'")));
    };
    let field = field.trim();
    if !COMMON_FIELDS.contains(&field) && !fields_of(resource).contains(&field) {
        return Err(ApiError::bad_request(if has_own_labels(resource) {
            format!("field label not supported: {field}")
        } else {
            let known = COMMON_FIELDS.iter().map(|known| format!("{known:?}")).collect::<Vec<_>>().join(", ");
            format!("{field:?} is not a known field selector: only {known}")
        }));
    }
    let pointer = format!("/{}", field.replace('.', "/"));
    Ok(FieldTerm { pointer, equal, value: value.trim().to_owned() })
}

/// Whether a kind says itself which labels it takes, as those with more than the common ones and those of CRDs do.
fn has_own_labels(resource: &Resource) -> bool {
    resource.is_custom() || !fields_of(resource).is_empty()
}

/// What a kind can be selected by besides its name.
fn fields_of(resource: &Resource) -> &'static [&'static str] {
    match (resource.group, resource.kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
        ],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        _ => &[],
    }
}
