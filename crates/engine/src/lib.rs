//! The embedded machine: API, store, controllers, runner, ingress, registry.

pub mod api;
pub mod kubeconfig;
pub mod node;
pub mod registry;
pub mod sandbox;
pub mod store;
