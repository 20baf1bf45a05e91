//! Starts `build-tasks`.
fn main() {}
