//! `prepare`: this program into the workspace, for steps that run in other images.

use std::{os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;

use crate::error::Failure;

/// Copies the running program to `to`. The file's name decides what it is, so the multi-call binary works as well.
pub(crate) fn prepare(to: &Path) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new("failed to copy this program into the workspace", error);
    let exe = std::env::current_exe().map_err(failed)?;
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let temporary = tempfile::NamedTempFile::new_in(parent).map_err(failed)?.into_temp_path();
    fs::copy(&exe, &temporary).map_err(failed)?;
    fs::set_permissions(&temporary, PermissionsExt::from_mode(0o755)).map_err(failed)?;
    temporary.persist(to).map_err(|error| failed(error.error))
}
