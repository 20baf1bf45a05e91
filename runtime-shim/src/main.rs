//! Starts `runtime-shim`.
fn main() {}
