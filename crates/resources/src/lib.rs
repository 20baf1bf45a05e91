//! Typed Knative, Tekton and core objects, and the names, labels and annotations that go with them. No I/O.
//!
//! Only the fields that tm or the engine reads or writes are typed; everything else of an object travels along in
//! `other`, so reading an object and writing it back loses nothing.

pub mod condition;
pub mod labels;
pub mod names;
pub mod serving;
pub mod sources;
pub mod target;
pub mod tekton;

pub use condition::{Condition, ConditionStatus};
