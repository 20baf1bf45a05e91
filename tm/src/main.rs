//! Starts `tm`, or one of the programs it carries: by the name it was called by, or by its first argument.

mod build;
mod cli;
mod commands;
mod error;
mod multicall;
mod permissions;
mod printer;
mod registry;
mod runtime;
mod settings;
mod source;
mod target;
mod upload;
mod userinfo;
mod wait;

use std::{ffi::OsString, process::ExitCode};

use multicall::Program;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let args: Vec<OsString> = words.collect();
    match multicall::select(&name, &args) {
        Program::Cli => cli::main(std::iter::once(name).chain(args)),
        Program::RuntimeShim(args) => runtime_shim::main(args),
        Program::BuildTasks(args) => build_tasks::main(args.into_iter()),
        Program::Engine(args) => tm_engine::main(args.into_iter()),
        Program::Sandbox(args) => ExitCode::from(tm_engine::sandbox::main(args.into_iter())),
    }
}
