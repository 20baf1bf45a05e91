//! The embedded machine: API, store, controllers, runner, ingress, registry.

pub mod node;
pub mod sandbox;
