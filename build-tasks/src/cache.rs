//! `TM_BUILD_CACHE`: a folder that outlives builds. Without it, or when it cannot be written, everything works slower.
//!
//! Entries are named by what they were made of and appear by rename, so builds that run side by side share them.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use tm_oci::Digest;

use crate::tree;

/// The cache folder, if there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    root: Option<PathBuf>,
}

// === impl Cache ===

impl Cache {
    /// The folder `TM_BUILD_CACHE` names, if it can be written.
    pub(crate) fn from_environment() -> Self {
        let root = std::env::var_os("TM_BUILD_CACHE").filter(|v| !v.is_empty()).map(PathBuf::from);
        Self { root: root.filter(|root| is_writable(root)) }
    }

    /// A folder that a tool keeps its own cache in.
    pub(crate) fn tool_folder(&self, name: &str) -> Option<PathBuf> {
        let dir = self.root.as_ref()?.join("tools").join(name);
        fs::create_dir_all(&dir).ok().map(|()| dir)
    }

    /// Copies the tree of `key` to `to`; false when there is none.
    pub(crate) fn get_tree(&self, kind: &str, key: &Digest, to: &Path) -> io::Result<bool> {
        let Some(from) = self.entry(kind, key).filter(|from| from.is_dir()) else { return Ok(false) };
        tree::copy(&from, to, &|_| false)?;
        Ok(true)
    }

    /// Keeps a copy of the tree `from`. Not being able to is no failure of the build.
    pub(crate) fn put_tree(&self, kind: &str, key: &Digest, from: &Path) {
        let Some(to) = self.entry(kind, key) else { return };
        if let Err(error) = keep(from, &to) {
            tracing::warn!(%error, "the build cache cannot be written");
        }
    }

    /// The text of `key`.
    pub(crate) fn get_text(&self, kind: &str, key: &Digest) -> Option<String> {
        fs::read_to_string(self.entry(kind, key)?).ok()
    }

    /// Keeps a text.
    pub(crate) fn put_text(&self, kind: &str, key: &Digest, text: &str) {
        let Some(to) = self.entry(kind, key) else { return };
        let kept = to.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = kept.and_then(|()| tm_oci::layout::write_atomic(&to, text.as_bytes())) {
            tracing::warn!(%error, "the build cache cannot be written");
        }
    }

    fn entry(&self, kind: &str, key: &Digest) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join(kind).join(key.hex()))
    }
}

fn is_writable(root: &Path) -> bool {
    fs::create_dir_all(root).and_then(|()| tempfile::tempfile_in(root)).is_ok()
}

fn keep(from: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let staging = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    tree::copy(from, staging.path(), &|_| false)?;
    match fs::rename(staging.path(), to) {
        Ok(()) => {
            let _moved = staging.keep();
            Ok(())
        }
        // Another build was quicker with the same.
        Err(_) if to.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// A key made of parts; the parts' lengths are part of it.
pub(crate) fn key(parts: &[&[u8]]) -> Digest {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(*part);
    }
    Digest::of(&bytes)
}
