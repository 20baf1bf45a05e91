//! Toolchains and packages of other languages: looked for, fetched once, and missed loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder under the target directory that `make` fills once; `name` names its content, versions included.
pub(crate) fn cached(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    tm_testkit::tools::cached(env!("CARGO_TARGET_TMPDIR"), name, make)
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) {
    output(command);
}

/// The same; what it says on stdout.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).canonicalize().unwrap()
}
