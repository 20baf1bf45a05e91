//! External extensions as files: which there are (EX-01), and which of them cannot be started.
//!
//! Every entry of the folder that is no folder is one, in the order of their names. They are looked for at each start of
//! an environment, as bootstraps are.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use tm_lambda::extension::MAX_EXTENSIONS;

use super::bootstrap;
use crate::config::Launch;

/// An external extension that cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct LaunchError {
    /// In Go's words, as AWS has it.
    pub(crate) reason: String,
    /// The emulator's word for it.
    pub(crate) kind: &'static str,
}

/// Whether the image has external extensions, good or bad.
pub(crate) fn has_extensions(launch: &Launch) -> bool {
    find(&launch.extensions_dir).map_or(true, |found| !found.is_empty())
}

/// What is in the folder; nothing where there is no folder.
pub(crate) fn find(folder: &Path) -> Result<Vec<PathBuf>, LaunchError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(LaunchError::named("open", folder, &error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>();
    let mut paths = paths.map_err(|error| LaunchError::named("open", folder, &error))?;
    paths.retain(|path| !path.is_dir());
    paths.sort();
    if paths.len() > MAX_EXTENSIONS {
        let reason = format!("Extension limit ({MAX_EXTENSIONS}) reached");
        return Err(LaunchError { reason, kind: "TooManyExtensions" });
    }
    Ok(paths)
}

/// What the C library would start although the kernel would not.
pub(super) fn usable(path: &Path) -> Result<(), LaunchError> {
    let metadata = std::fs::metadata(path).map_err(|error| LaunchError::of(path, &error))?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(LaunchError::of(path, &Errno::EACCES.into()));
    }
    if bootstrap::is_script_of_nobody(path) {
        return Err(LaunchError::of(path, &Errno::ENOEXEC.into()));
    }
    Ok(())
}

// === impl LaunchError ===

impl LaunchError {
    /// The start was refused.
    pub(super) fn of(path: &Path, error: &io::Error) -> Self {
        Self::named("fork/exec", path, error)
    }

    fn named(what: &str, path: &Path, error: &io::Error) -> Self {
        let words = bootstrap::words(error, error.raw_os_error().map(Errno::from_raw));
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let kind = if denied { "PermissionDenied" } else { "UnknownError" };
        Self { reason: format!("{what} {}: {words}", path.display()), kind }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};

    use super::*;

    fn file(folder: &Path, name: &str, text: &str, mode: u32) {
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn ex_01_all_but_folders_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["b", "a"] {
            File::create(path.join(name)).unwrap();
        }
        fs::create_dir(path.join("lib")).unwrap();
        std::os::unix::fs::symlink("b", path.join("link")).unwrap();
        let names = ["a", "b", "link"].map(|name| path.join(name));
        assert_eq!(find(path), Ok(names.to_vec()));
        assert_eq!(find(&path.join("nothing")), Ok(Vec::new()));
        for number in 0..8 {
            File::create(path.join(number.to_string())).unwrap();
        }
        assert_eq!(find(path).unwrap_err().to_string(), "Extension limit (10) reached");
    }

    #[test]
    fn what_cannot_be_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        file(path, "good", "#!/bin/sh\n", 0o755);
        file(path, "closed", "#!/bin/sh\n", 0o644);
        file(path, "text", "hello\n", 0o755);
        assert_eq!(usable(&path.join("good")), Ok(()));
        let refused = |name: &str| {
            let LaunchError { reason, kind } = usable(&path.join(name)).unwrap_err();
            (reason.rsplit_once(": ").unwrap().1.to_owned(), kind)
        };
        assert_eq!(refused("closed"), ("permission denied".to_owned(), "PermissionDenied"));
        assert_eq!(refused("text"), ("exec format error".to_owned(), "UnknownError"));
        assert_eq!(refused("gone"), ("no such file or directory".to_owned(), "UnknownError"));
    }
}
