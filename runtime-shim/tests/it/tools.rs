//! Toolchains and packages of other languages: looked for, fetched once, and missed loudly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A folder under the target directory that `make` fills once; `name` names its content, versions included.
pub(crate) fn cached(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    // One at a time: package managers compete for their own caches anyway.
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.exists() {
        let part = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        make(part.path());
        // Another test run may have been quicker; then its folder is as good.
        if fs::rename(part.path(), &folder).is_err() {
            assert!(folder.exists());
        }
    }
    folder
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
