//! What the engine tells the helper: a JSON file of mode 0600 that is removed once it was read, since a container's
//! environment may hold secrets.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::SandboxError;

/// How far a container is kept apart from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Mount and PID namespaces of its own (and a user namespace when the engine is not root).
    Namespaces,
    /// An ordinary process; the kernel forbids namespaces.
    Plain,
}

/// Who the command runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A folder or file of the machine at a place of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is on the machine.
    pub source: PathBuf,
    /// Where the container sees it (absolute).
    pub target: PathBuf,
    /// Whether the container may write.
    pub writable: bool,
}

/// A container to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// How it is kept apart.
    pub isolation: Isolation,
    /// An empty folder; becomes the mount point of the new root.
    pub root: PathBuf,
    /// The image's unpacked layers; laid over the machine's own folders.
    pub image: Option<PathBuf>,
    /// Whether the machine's own folders are part of the view; an image that is a whole system stands alone.
    pub host: bool,
    /// The pod's folders, over everything else.
    pub mounts: Vec<Mount>,
    /// Paths of the machine that the container must not see (the engine's state, keys in home folders).
    pub masked: Vec<PathBuf>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Exit code when the command cannot be executed; `None` is a shell's, 126 or 127.
    pub exec_failure: Option<u8>,
    /// Working directory, inside the view.
    pub cwd: PathBuf,
    /// Who to be; `None` keeps the engine's own user.
    pub identity: Option<Identity>,
    /// The engine's own user when it is not root: who to be again once the view is built.
    pub owner: Option<Identity>,
}

// === impl Spec ===

impl Spec {
    /// Writes the spec for the helper, readable by the engine's user only.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        use std::io::Write;

        use fs_err::os::unix::fs::OpenOptionsExt;
        let mut options = fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
        out.write_all(&serde_json::to_vec(self)?)
    }

    /// Reads it back.
    pub(super) fn read(file: &Path) -> Result<Self, SandboxError> {
        let text = fs::read(file).map_err(SandboxError::Spec)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Removes the file; a file that is gone already is as good.
    pub(super) fn remove(file: &Path) {
        let _ = fs::remove_file(file);
    }
}
