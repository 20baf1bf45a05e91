//! Starts `runtime-shim`.
use std::process::ExitCode;

fn main() -> ExitCode {
    runtime_shim::main(std::env::args_os().skip(1))
}
