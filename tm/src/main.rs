//! Starts `tm`.
fn main() {}
