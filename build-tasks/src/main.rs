//! Starts `build-tasks`.

use std::process::ExitCode;

fn main() -> ExitCode {
    build_tasks::run(std::env::args_os().skip(1), build_tasks::Carrier::Alone)
}
