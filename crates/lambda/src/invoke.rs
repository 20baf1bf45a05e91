//! The Lambda Invoke API as its callers write it (section 7): whom they call, with what, and how they are refused.
//!
//! `runtime-shim`'s front parses a request into an [`Operation`], a [`Target`] and its headers' values with these, and
//! answers refusals with an [`InvokeError`].

mod client_context;
mod error;
mod operation;
mod target;

pub use client_context::client_context;
pub(crate) use client_context::header_safe;
pub use error::InvokeError;
pub use operation::{InvocationType, LogType, Operation, tenant_id};
pub use target::{Qualifier, Target};
