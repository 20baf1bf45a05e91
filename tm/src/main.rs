//! Starts `tm`, or one of the programs it carries: by the name it was called by, or by its first argument.

mod multicall;

use std::{ffi::OsString, process::ExitCode};

use multicall::Program;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let args: Vec<OsString> = words.collect();
    match multicall::select(&name, &args) {
        Program::Cli => ExitCode::FAILURE,
        Program::RuntimeShim(_) | Program::BuildTasks(_) | Program::Engine(_) => ExitCode::FAILURE,
        Program::Sandbox(args) => ExitCode::from(tm_engine::sandbox::main(args.into_iter())),
    }
}
