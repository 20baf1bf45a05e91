//! The one static binary inside build pods.
//!
//! The steps of a build call it: `receive` waits for the source, `unpack` (called through exec) brings it, `prepare`
//! copies the binary to where steps in language images find it, `lang` calls the language's own tools and writes trees
//! of files, `assemble` makes them an image and pushes it. `check-push` asks beforehand whether a push would be allowed.
//! No step runs a shell, and user text reaches tools as whole arguments or environment values.
//!
//! | environment | meaning |
//! |---|---|
//! | `HANDLER`, `DIRECTORY`, `INVOKER_COUNT` | the Task's params of these names |
//! | `TM_BUILD_CACHE` | a folder that outlives builds: downloads, installed dependencies, digests of layers |
//! | `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG`, `HOME` | where registry credentials are looked for, in this order |
//! | `TM_LOG` | what to log, as `tracing` filters are written |

mod assemble;
mod cache;
mod check_push;
mod cli;
mod error;
mod lang;
mod output;
mod prepare;
mod process;
mod runtimes;
mod signals;
pub mod tasks;
mod tree;
mod upload;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

/// Which file this program is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The small binary `build-tasks`.
    Alone,
    /// The multi-call binary, which is `runtime-shim` too when it is called so.
    MultiCall,
}

/// Runs `build-tasks` as part of the multi-call binary. `args` are without the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    run(args, Carrier::MultiCall)
}

/// Runs `build-tasks` with the arguments after the program's name.
pub fn run(args: impl Iterator<Item = OsString>, carrier: Carrier) -> ExitCode {
    let words = std::iter::once(OsString::from("build-tasks")).chain(args);
    let command = match cli::parse(words) {
        Ok(command) => command,
        Err(code) => return code,
    };
    output::start_log();
    match execute(command, carrier) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn execute(command: cli::Command, carrier: Carrier) -> Result<(), error::Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error::Failure::new("failed to start", error))?;
    let done = runtime.block_on(async {
        match command {
            cli::Command::Receive(args) => upload::receive(&args).await,
            cli::Command::Unpack(args) => upload::unpack(&args),
            cli::Command::Prepare(args) => prepare::prepare(&args.to),
            cli::Command::Lang(args) => lang::run(&args).await,
            cli::Command::Assemble(args) => {
                signals::until_asked_to_stop(assemble::assemble(&args, carrier)).await
            }
            cli::Command::CheckPush(args) => {
                signals::until_asked_to_stop(check_push::check_push(&args)).await
            }
        }
    });
    // A thread may still wait for input that never comes.
    runtime.shutdown_background();
    done
}
