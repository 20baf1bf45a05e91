//! Test harness: boots the engine, the shim and functions; wait_for; snapshot filters.
//!
//! Without the feature `machine` only [`documentation`] and [`tools`] are there, which need nothing: for crates below the engine.

#[cfg(feature = "machine")]
pub mod api_server;
pub mod documentation;
#[cfg(feature = "machine")]
pub mod fake_node;
#[cfg(feature = "machine")]
pub mod machine;
pub mod tools;
