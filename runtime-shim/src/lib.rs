//! PID 1 of every function: HTTP to and from the Lambda Runtime API.
//!
//! ```text
//! caller -> front -> codec -> queue -> worker -> Runtime API -> bootstrap process
//!                                                             -> log lane -> stdout
//! ```
//!
//! [`main`] is the whole program; `tm runtime-shim` and the small binary `runtime-shim` both call it. It reads the
//! configuration from the environment ([`tm_lambda::environment`]), starts the first worker, opens the front once that
//! worker's init has ended, and on SIGTERM drains: the front first, then the workers, then what they left behind.

mod body;
mod cli;
mod codec;
mod config;
mod front;
mod hosts;
mod invocation;
mod logs;
mod metrics;
mod pool;
mod process;
mod queue;
mod run;
mod runtime_api;
mod signals;
mod telemetry;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cli::Cli;
use config::{Compat, Config, Start};
use front::Front;
use invocation::{Invocation, Outcome, ResultBody, Whole};
use metrics::Metrics;
use queue::Queue;
use tokio::io::{AsyncRead, AsyncWrite};

/// `EX_USAGE`: the command line or the environment is wrong.
const EXIT_USAGE: u8 = 64;

/// Runs the shim with `args`, which are what follows the program's name. The name itself decides whose place the shim
/// takes, where it is that of a program it knows.
///
/// Exit codes: 0 after a drain, 1 when it could not serve or was told twice to stop, 64 for a wrong configuration.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    let variable = std::env::var_os(tm_lambda::environment::TM_COMPAT);
    let compat = match Compat::of(&program, variable.as_deref()) {
        Ok(compat) => compat,
        Err(text) => {
            say(std::io::stderr(), &text);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match Cli::parse(args, compat) {
        Cli::Say(text) => {
            say(std::io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Cli::Wrong(text) => {
            say(std::io::stderr(), &text);
            ExitCode::from(EXIT_USAGE)
        }
        Cli::Run { command, options } => serve(Start { compat, command, options }),
    }
}

/// Reads a configuration and starts nothing. The fuzz target `environment` calls it.
///
/// # Errors
/// Everything that is wrong with these variables, as the shim says it before it ends with 64.
pub fn check(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<(), String> {
    Config::read(variables, Start::default()).map(|_| ()).map_err(|mistakes| mistakes.to_string())
}

/// Serves one connection as the front of a shim with these variables does, to a function that gives every event back; no process
/// is started. Gives the events. The fuzz target `requests` calls it.
///
/// # Errors
/// As [`check`].
pub async fn exchange(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Vec<Bytes>, String> {
    let config = Config::read(variables, Start::default()).map_err(|mistakes| mistakes.to_string())?;
    let queue = Queue::new(config.queue_length, config.function_timeout, Arc::new(Metrics::new()));
    let queue = Arc::new(queue);
    let front = Arc::new(Front::new(Arc::new(config), Arc::clone(&queue)));
    let mut events = Vec::new();
    let echo = async {
        loop {
            let Invocation { delivery, responder, .. } = queue.pop().await;
            let bytes = delivery.event.body;
            events.push(bytes.clone());
            responder.answer(Outcome::Success(ResultBody::Whole(Whole { bytes, stream: None })));
        }
    };
    tokio::select! {
        () = front::connection(front, io) => {}
        () = echo => {}
    }
    Ok(events)
}

fn serve(start: Start) -> ExitCode {
    let config = match Config::read(std::env::vars_os(), start) {
        Ok(config) => config,
        Err(mistakes) => {
            say(std::io::stderr(), &mistakes.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    tracing_subscriber::fmt()
        .with_max_level(config.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(std::io::stderr(), &format!("error: failed to start the async runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let end = runtime.block_on(run::run(config));
    // Blocking helpers (a stuck log pipe, say) must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(std::io::stderr(), &render(&error));
            ExitCode::FAILURE
        }
    }
}

/// One thread for everything that waits: the shim only moves bytes and shares the machine with the function it serves.
/// Measured against two and more, it answers sooner and leaves the other cores to the function.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(4).enable_all().build()
}

/// The error and its causes on one line.
fn render(error: &dyn std::error::Error) -> String {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text.push('\n');
    text
}

/// Writes, and ignores a reader that has left.
fn say(mut to: impl std::io::Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
    let _ = to.flush();
}
