//! Test harness: boots the engine, the shim and functions; wait_for; snapshot filters.

pub mod api_server;
pub mod fake_node;
pub mod machine;
pub mod tools;
