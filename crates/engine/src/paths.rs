//! Where the engine keeps what: state that lasts (`$XDG_STATE_HOME/tm`) and run-time files (`$XDG_RUNTIME_DIR/tm`).

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use fs_err as fs;

/// Moves the state folder.
pub const STATE_DIR_ENV: &str = "TM_STATE_DIR";
/// Moves the run-time folder.
pub const RUNTIME_DIR_ENV: &str = "TM_RUNTIME_DIR";

/// The engine's folders. All of them are private to the user but the layers, which containers read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What survives a restart.
    pub state: PathBuf,
    /// Socket, lock and pid.
    pub runtime: PathBuf,
}

/// No place for the engine's files.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// Neither a variable nor a home folder says where.
    #[error("failed to find a folder for the engine's state: neither {STATE_DIR_ENV} nor HOME is set")]
    NoHome,
    /// A folder cannot be made.
    #[error("failed to make the engine's folders")]
    Create(#[source] std::io::Error),
}

// === impl Paths ===

impl Paths {
    /// The folders this environment names: `TM_STATE_DIR` and `TM_RUNTIME_DIR`, else the XDG ones. Without
    /// `XDG_RUNTIME_DIR` the run-time files live in the state folder.
    ///
    /// # Errors
    /// [`PathsError::NoHome`].
    pub fn from_env() -> Result<Self, PathsError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let strategy = etcetera::base_strategy::Xdg::new();
        let state = match set(STATE_DIR_ENV) {
            Some(folder) => folder,
            None => {
                strategy.as_ref().ok().and_then(BaseStrategy::state_dir).ok_or(PathsError::NoHome)?.join("tm")
            }
        };
        let xdg_runtime = || set("XDG_RUNTIME_DIR").map(|folder| folder.join("tm"));
        let runtime = set(RUNTIME_DIR_ENV).or_else(xdg_runtime).unwrap_or_else(|| state.join("run"));
        Ok(Self { state, runtime })
    }

    /// Makes the folders: `0700`, but the state folder itself `0711` so that a container's user reaches the layers.
    ///
    /// # Errors
    /// [`PathsError::Create`].
    pub fn create(&self) -> Result<(), PathsError> {
        let make = || -> std::io::Result<()> {
            private_dir(&self.state, 0o711)?;
            private_dir(&self.runtime, 0o700)?;
            private_dir(&self.pods(), 0o711)?;
            private_dir(&self.layers(), 0o755)?;
            private_dir(&self.cache(), 0o711)?;
            private_dir(&self.binaries(), 0o755)?;
            private_dir(&self.registry(), 0o700)
        };
        make().map_err(PathsError::Create)
    }

    /// Unix socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("engine.sock")
    }

    /// Held by the engine as long as it runs; holds its pid and version.
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("engine.lock")
    }

    /// The engine's own log.
    pub fn log(&self) -> PathBuf {
        self.state.join("engine.log")
    }

    /// A folder for each pod.
    pub fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    /// Images unpacked by digest.
    pub fn layers(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Caches of builds.
    pub fn cache(&self) -> PathBuf {
        self.state.join("cache")
    }

    /// Links to this binary under the names of the programs it carries.
    pub fn binaries(&self) -> PathBuf {
        self.state.join("bin")
    }

    /// The registry's blobs.
    pub fn registry(&self) -> PathBuf {
        self.state.join("registry")
    }
}

/// Makes a folder with that mode; one that is there keeps its content and gets the mode.
pub(crate) fn private_dir(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(mode))
}
