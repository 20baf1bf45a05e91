//! Programs that a test needs from the machine, and packages it fetches once.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use fs_err as fs;

/// Set to 1, a missing tool is a failure.
const REQUIRE_ALL: &str = "TM_TEST_REQUIRE_ALL";

/// Where a program is; without it the test says so and is skipped.
///
/// # Panics
/// When the program is missing and `TM_TEST_REQUIRE_ALL=1`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("no {program}"));
    }
    found
}

/// Whether a program is there; without it the test says so and is skipped.
///
/// # Panics
/// As [`find`].
#[must_use]
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Says loudly that a test did not run.
///
/// # Panics
/// When `TM_TEST_REQUIRE_ALL=1`.
pub fn skip(why: &str) {
    assert!(std::env::var_os(REQUIRE_ALL).is_none_or(|v| v != "1"), "{why}, and {REQUIRE_ALL}=1");
    say(&format!("SKIPPED: {why}"));
}

/// Writes a line past the capture of the test runner: it must not go unnoticed.
pub fn say(line: &str) {
    drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
}

/// A folder in `under` (a test's `CARGO_TARGET_TMPDIR`) that `make` fills once; `name` names its content, versions included.
///
/// # Panics
/// When it cannot be made.
pub fn cached(under: &str, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    // One at a time: package managers compete for their own caches anyway.
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(under).join(name);
    if !folder.exists() {
        let part = tempfile::tempdir_in(under).expect("a folder can be made");
        make(part.path());
        // Another test run may have been quicker; then its folder is as good.
        if fs::rename(part.path(), &folder).is_err() {
            assert!(folder.exists(), "{} can be made", folder.display());
        }
    }
    folder
}

/// Chooses the process's TLS provider, which clients made without one want.
#[cfg(feature = "machine")]
pub fn install_tls() {
    // The second caller finds it done.
    drop(rustls::crypto::ring::default_provider().install_default());
}
