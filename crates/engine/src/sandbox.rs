//! `tm sandbox`: the small helper process between the engine and a container's command.
//!
//! The engine writes a [`Spec`] to a file and starts `tm sandbox FILE`. That process (the *outer*) makes the namespaces
//! and starts itself once more as PID 1 of the new PID namespace (the *inner*), which builds the view, drops its
//! rights and executes the command. The outer only forwards signals and the exit code. When the engine dies the
//! outer is killed, with it the inner, and with PID 1 the kernel ends everything in the namespace. Where the kernel forbids
//! namespaces the outer itself ends what the command started (`descendants`).
//!
//! It runs before any thread is started: namespaces of a process belong to its threads one by one.

mod descendants;
mod limits;
mod namespaces;
mod spec;
mod view;

use std::{ffi::OsString, os::unix::process::CommandExt, path::Path, process::Command};

pub(crate) use descendants::{END_ALL, MARK, sweep};
pub(crate) use namespaces::owner;
pub use spec::{Identity, Isolation, Mount, Spec};

/// Exit code when the sandbox itself could not be made (the same as `docker run`'s).
pub const EXIT_SANDBOX: u8 = 125;
/// Exit code when the command cannot be executed.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit code when the command is not there.
pub const EXIT_NOT_FOUND: u8 = 127;

/// What went wrong before the command was executed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The arguments are not the engine's.
    #[error("usage: tm sandbox [--inner] SPEC | tm sandbox --probe")]
    Usage,
    /// The spec cannot be read.
    #[error("failed to read the sandbox's spec")]
    Spec(#[source] std::io::Error),
    /// The spec is not one.
    #[error("failed to parse the sandbox's spec")]
    Parse(#[from] serde_json::Error),
    /// A system call was refused.
    #[error("failed to {what}")]
    System {
        /// What was tried.
        what: String,
        /// What the kernel said.
        #[source]
        source: nix::Error,
    },
    /// A file operation failed.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command could not be executed.
    #[error("failed to execute `{command}`")]
    Exec {
        /// Its first word.
        command: String,
        /// The exit code that says so.
        code: u8,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the helper and returns its exit code: the command's own, 128 + n when signal n ended it, or one of the
/// `EXIT_…` codes with the reason on stderr (which is the container's log).
pub fn main(args: impl Iterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.collect();
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let result = match words.as_slice() {
        ["--probe"] => namespaces::probe(),
        ["--inner", file] => inner(Path::new(file)),
        ["--plain", file] => plain(Path::new(file)),
        [file] => outer(Path::new(file)),
        _ => Err(SandboxError::Usage),
    };
    result.unwrap_or_else(|error| {
        report(&error);
        exit_code(&error)
    })
}

/// Reads the spec and runs the command, in namespaces or without.
fn outer(file: &Path) -> Result<u8, SandboxError> {
    let spec = Spec::read(file)?;
    match spec.isolation {
        Isolation::Plain => {
            descendants::adopt()?;
            let code = namespaces::run_inner("--plain", file);
            Spec::remove(file);
            descendants::end_all();
            code
        }
        Isolation::Namespaces => {
            namespaces::die_with_parent()?;
            namespaces::unshare_all(&spec)?;
            let code = namespaces::run_inner("--inner", file);
            Spec::remove(file);
            code
        }
    }
}

/// The command's process where there are no namespaces.
fn plain(file: &Path) -> Result<u8, SandboxError> {
    namespaces::unblock_signals()?;
    let spec = Spec::read(file)?;
    Spec::remove(file);
    Err(execute(&spec))
}

/// PID 1 of the new namespace: builds the view, then becomes the command.
fn inner(file: &Path) -> Result<u8, SandboxError> {
    namespaces::unblock_signals()?;
    let spec = Spec::read(file)?;
    view::enter(&spec)?;
    namespaces::become_owner(&spec)?;
    Err(execute(&spec))
}

/// Drops rights and becomes the command; returns only when that failed.
fn execute(spec: &Spec) -> SandboxError {
    if let Err(error) = limits::apply(spec).and_then(|()| namespaces::drop_rights(spec)) {
        return error;
    }
    let Some((program, args)) = spec.command.split_first() else {
        return SandboxError::Usage;
    };
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(spec.env.iter().map(|(name, value)| (name, value)));
    if let Err(source) = std::env::set_current_dir(&spec.cwd) {
        return SandboxError::Io { what: format!("enter `{}`", spec.cwd.display()), source };
    }
    let source = command.exec();
    let usual = match source.kind() {
        std::io::ErrorKind::NotFound => EXIT_NOT_FOUND,
        _ => EXIT_NOT_EXECUTABLE,
    };
    SandboxError::Exec { command: program.clone(), code: spec.exec_failure.unwrap_or(usual), source }
}

fn exit_code(error: &SandboxError) -> u8 {
    match error {
        SandboxError::Exec { code, .. } => *code,
        _ => EXIT_SANDBOX,
    }
}

/// One line to the container's log; there is no printer here and nobody to tell if that fails.
fn report(error: &SandboxError) {
    use std::io::Write;
    let mut line = format!("tm sandbox: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Shorthand for the system calls of the submodules.
fn system<T>(what: impl Into<String>, result: nix::Result<T>) -> Result<T, SandboxError> {
    result.map_err(|source| SandboxError::System { what: what.into(), source })
}

/// Shorthand for the file operations of the submodules.
fn io<T>(what: impl Into<String>, result: std::io::Result<T>) -> Result<T, SandboxError> {
    result.map_err(|source| SandboxError::Io { what: what.into(), source })
}
