//! This binary under the names of the programs it carries, where builds find them.
//!
//! They are hard links where possible: an engine goes on with the binary it was started from while a new one is put in
//! its place.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;

use crate::paths::Paths;

/// Names a build needs.
const BUILD_TASKS: &str = "build-tasks";
const RUNTIME_SHIM: &str = "runtime-shim";

/// Links them. A small `runtime-shim` that lies beside this binary (releases ship it) is taken for images.
pub(super) fn link(paths: &Paths) -> io::Result<()> {
    let exe = std::env::current_exe()?;
    let folder = paths.binaries();
    place(&exe, &folder.join(BUILD_TASKS))?;
    let small = beside(&exe, RUNTIME_SHIM);
    let target = folder.join(RUNTIME_SHIM);
    match small {
        Some(small) => place(&small, &target),
        // `build-tasks` then packs itself under that name.
        None => match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

fn beside(exe: &Path, name: &str) -> Option<PathBuf> {
    let path = exe.parent()?.join(name);
    path.is_file().then_some(path)
}

/// Links or, across file systems, copies; what was there is replaced in one step.
fn place(source: &Path, target: &Path) -> io::Result<()> {
    let fresh = target.with_extension("new");
    let _ = fs::remove_file(&fresh);
    if fs::hard_link(source, &fresh).is_err() {
        fs::copy(source, &fresh)?;
    }
    fs::rename(&fresh, target)
}
