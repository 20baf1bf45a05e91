//! Rules of the repository itself: who may depend on whom.
mod crate_graph;
