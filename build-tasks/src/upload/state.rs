//! The state folder.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tm_oci::layout::write_atomic;

use crate::error::Failure;

/// What is known of a finished upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Which upload it was.
    pub token: String,
    /// SHA-256 of the archive.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// How many entries it had.
    pub entries: u64,
}

fn path(state: &Path) -> PathBuf {
    state.join("done.json")
}

/// The finished upload, if there is one with this token.
pub(crate) fn read(state: &Path, token: &str) -> Result<Option<Done>, Failure> {
    let text = match fs::read(path(state)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new("failed to read the state of the upload", error)),
    };
    Ok(serde_json::from_slice(&text).ok().filter(|done: &Done| done.token == token))
}

/// Held by `unpack` until its process is gone.
///
/// The step that receives must not end before: a container's end kills the commands that run in it, and the client would
/// hear of a killed `unpack` instead of its success.
pub(crate) fn hold(state: &Path) -> Result<std::fs::File, Failure> {
    let failed = |error: std::io::Error| Failure::new("failed to write the state of the upload", error);
    fs::create_dir_all(state).map_err(failed)?;
    let file = open_lock(state).map_err(failed)?;
    file.lock_shared().map_err(failed)?;
    Ok(file)
}

/// Whether no `unpack` runs. A lock that cannot be asked for is held by nobody.
pub(crate) fn is_free(state: &Path) -> bool {
    open_lock(state).is_ok_and(|file| !matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

fn open_lock(state: &Path) -> std::io::Result<std::fs::File> {
    let file =
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(state.join("unpacking"))?;
    Ok(file.into_parts().0)
}

/// Says that the upload is finished.
pub(crate) fn write(state: &Path, done: &Done) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new("failed to write the state of the upload", error);
    fs::create_dir_all(state).map_err(failed)?;
    let text = serde_json::to_vec(done).map_err(|error| failed(error.into()))?;
    write_atomic(&path(state), &text).map_err(failed)
}
