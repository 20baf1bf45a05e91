//! Query parameters of writes.

use http::header;

use crate::api::{
    dispatch::Call,
    error::{ApiError, Result},
};

/// How a write happens.
#[derive(Clone, Debug)]
pub(crate) struct WriteOptions {
    /// Do everything but the write itself.
    pub(crate) dry_run: bool,
    /// Who owns the fields that are written.
    pub(crate) manager: String,
    /// Whether the manager owns them by applying or by updating.
    pub(crate) operation: Operation,
    /// Take over fields that others own.
    pub(crate) force: bool,
    /// What happens to fields that are not known.
    pub(crate) validation: Validation,
}

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Server-side apply.
    Apply,
    /// Everything else.
    Update,
}

/// `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    /// Drop unknown fields.
    Ignore,
    /// Drop them and say so.
    Warn,
    /// Refuse them.
    Strict,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            manager: "tm".to_owned(),
            operation: Operation::Update,
            force: false,
            validation: Validation::Ignore,
        }
    }
}

// === impl WriteOptions ===

impl WriteOptions {
    /// Reads the parameters of a request.
    pub(crate) fn from_call(call: &Call, operation: Operation) -> Result<Self> {
        Ok(Self {
            dry_run: dry_run(call)?,
            manager: manager(call, operation)?,
            operation,
            force: call.query.flag("force"),
            validation: validation(call)?,
        })
    }
}

/// `dryRun=All` or nothing.
pub(crate) fn dry_run(call: &Call) -> Result<bool> {
    match call.query.get("dryRun") {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(ApiError::new(
            422,
            "Invalid",
            format!(
                "Options.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: {other:?}: supported values: \"All\""
            ),
        )),
    }
}

fn validation(call: &Call) -> Result<Validation> {
    match call.query.get("fieldValidation") {
        Some("Ignore") => Ok(Validation::Ignore),
        None | Some("Warn") => Ok(Validation::Warn),
        Some("Strict") => Ok(Validation::Strict),
        Some(other) => Err(ApiError::new(
            422,
            "Invalid",
            format!(
                "Options.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: {other:?}: supported values: \
                 \"Ignore\", \"Strict\", \"Warn\""
            ),
        )),
    }
}

fn manager(call: &Call, operation: Operation) -> Result<String> {
    if let Some(manager) = call.query.get("fieldManager") {
        return Ok(manager.to_owned());
    }
    if operation == Operation::Apply {
        return Err(ApiError::new(
            422,
            "Invalid",
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let agent = call.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let program = agent.split('/').next().unwrap_or_default();
    Ok(if program.is_empty() { "unknown" } else { program }.chars().take(128).collect())
}
