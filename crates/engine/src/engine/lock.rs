//! One engine at a time: a file lock that the kernel lets go when the process dies, and in the file who holds it. An engine that
//! ends takes the file with it.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::paths::Paths;

/// The engine that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Where functions answer.
    pub functions: SocketAddr,
    /// Where the registry answers.
    pub registry: SocketAddr,
    /// Where the Kubernetes API answers kubectl.
    pub api: SocketAddr,
    /// How containers are kept apart.
    pub isolation: String,
}

/// The lock, held as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another engine has it.
    #[error("another engine is running")]
    Held,
    /// The file cannot be used.
    #[error("failed to use the engine's lock file")]
    Io(#[from] std::io::Error),
    /// What the holder wrote cannot be read.
    #[error("failed to read who holds the engine's lock")]
    Parse(#[from] serde_json::Error),
}

// === impl Lock ===

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`LockError::Held`] when another engine runs.
    pub fn take(paths: &Paths) -> Result<Self, LockError> {
        loop {
            let file: File = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(paths.lock())?
                .into_parts()
                .0;
            match file.try_lock() {
                Ok(()) if is_at(&file, &paths.lock())? => {
                    file.set_len(0)?;
                    return Ok(Self { file, path: paths.lock() });
                }
                // The engine that held it removed the file just now; another one may be there.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(LockError::Held),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    /// Says that the engine is ready and where.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, running: &Running) -> Result<(), LockError> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&serde_json::to_vec(running)?)?;
        Ok(())
    }
}

impl Drop for Lock {
    /// The file is still locked here, so it is nobody else's.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "the lock file is left");
        }
    }
}

/// Whether the open file is the one of that name.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    match fs::metadata(path) {
        Ok(named) => {
            let open = file.metadata()?;
            Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The engine that holds the lock; `Ok(None)` when none does or it is not ready yet.
///
/// # Errors
/// When the lock file cannot be read.
pub fn running(paths: &Paths) -> Result<Option<Running>, LockError> {
    let mut file: File = match fs::File::open(paths.lock()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened?.into_parts().0,
    };
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&text)?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = Paths { state: folder.path().into(), runtime: folder.path().into() };
        assert!(running(&paths).expect("it reads").is_none());
        let lock = Lock::take(&paths).expect("it is free");
        assert!(matches!(Lock::take(&paths), Err(LockError::Held)));
        assert!(running(&paths).expect("it reads").is_none());
        let me = Running {
            pid: 1,
            version: "v".into(),
            functions: ([127, 0, 0, 1], 1).into(),
            registry: ([127, 0, 0, 1], 2).into(),
            api: ([127, 0, 0, 1], 3).into(),
            isolation: String::new(),
        };
        lock.write(&me).expect("it writes");
        assert_eq!(running(&paths).expect("it reads"), Some(me));
        drop(lock);
        assert!(running(&paths).expect("it reads").is_none());
        assert!(!paths.lock().exists(), "nothing is left");
    }

    #[test]
    fn a_file_that_was_removed_meanwhile_is_no_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let old = File::create(&path).expect("it is made");
        assert!(is_at(&old, &path).expect("it is looked at"));
        fs::remove_file(&path).expect("it goes");
        assert!(!is_at(&old, &path).expect("it is looked at"));
        File::create(&path).expect("it is made anew");
        assert!(!is_at(&old, &path).expect("it is looked at"));
    }
}
