//! Programs that a test needs from the machine.

use std::{io::Write, path::PathBuf};

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

/// Chooses the process's TLS provider, which clients made without one want.
#[cfg(feature = "machine")]
pub fn install_tls() {
    // The second caller finds it done.
    drop(rustls::crypto::ring::default_provider().install_default());
}
