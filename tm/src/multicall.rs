//! One file, several programs: which one is meant by the name it was called by and its first argument.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

/// A program this file carries, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The command line.
    Cli,
    /// PID 1 of a function.
    RuntimeShim(Vec<OsString>),
    /// The binary of build pods.
    BuildTasks(Vec<OsString>),
    /// The embedded engine.
    Engine(Vec<OsString>),
    /// The engine's helper around a container.
    Sandbox(Vec<OsString>),
}

/// Selects the program: a link named `runtime-shim` or `build-tasks` is that program, and so is `tm runtime-shim …`.
pub(crate) fn select(name: &OsStr, args: &[OsString]) -> Program {
    let called = Path::new(name).file_name().and_then(OsStr::to_str).unwrap_or_default();
    match called {
        "runtime-shim" => return Program::RuntimeShim(args.to_vec()),
        "build-tasks" => return Program::BuildTasks(args.to_vec()),
        _ => {}
    }
    let Some((first, rest)) = args.split_first() else { return Program::Cli };
    match first.to_str() {
        Some("runtime-shim") => Program::RuntimeShim(rest.to_vec()),
        Some("build-tasks") => Program::BuildTasks(rest.to_vec()),
        Some("engine") => Program::Engine(rest.to_vec()),
        Some("sandbox") => Program::Sandbox(rest.to_vec()),
        _ => Program::Cli,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_name_decides_first() {
        let shim = select(OsStr::new("/usr/local/bin/runtime-shim"), &words(&["engine"]));
        assert_eq!(shim, Program::RuntimeShim(words(&["engine"])));
    }

    #[test]
    fn then_the_first_argument() {
        assert_eq!(select(OsStr::new("tm"), &words(&["sandbox", "x"])), Program::Sandbox(words(&["x"])));
        assert_eq!(select(OsStr::new("tm"), &words(&["deploy"])), Program::Cli);
        assert_eq!(select(OsStr::new("tm"), &[]), Program::Cli);
    }
}
