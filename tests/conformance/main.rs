//! The API semantics that tm relies on, held against the engine in process and, with `TM_TEST_CONTEXT`, against a
//! cluster. Where the two differ, the cluster is right.

#![expect(clippy::unwrap_used, reason = "the helpers of tests panic, as tests do")]

mod auth;
mod collect;
mod deletion;
mod discovery;
mod exec;
mod kubectl;
mod lists;
mod logs;
mod objects;
mod patches;
mod restart;
mod subject;
mod validation;
mod watches;
