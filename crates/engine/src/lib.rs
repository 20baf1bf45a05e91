//! The embedded machine: API, store, controllers, runner, ingress, registry.

pub mod api;
pub mod autoscaler;
pub mod controllers;
pub mod engine;
pub mod events;
mod go_duration;
pub mod ingress;
pub mod kubeconfig;
pub mod node;
pub mod paths;
pub mod registry;
pub mod runner;
pub mod sandbox;
mod schedule;
pub mod store;

pub use engine::main;
