//! Which program is the runtime: the explicit command, else the first bootstrap of EN-19.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::StartError;
use crate::config::{Compat, Launch};

/// A program with its arguments and working directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entrypoint {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) directory: PathBuf,
}

/// Finds what to start. Looked up at every start, so a repaired bootstrap is found.
pub(crate) fn find(launch: &Launch) -> Result<Entrypoint, StartError> {
    if let Some((program, args)) = launch.command.split_first() {
        // An explicit command comes from an image, whose WORKDIR is where we are.
        return Ok(Entrypoint {
            program: program.clone(),
            args: args.to_vec(),
            directory: PathBuf::from("."),
        });
    }
    let candidates = candidates(launch);
    let mut unusable = None;
    for candidate in &candidates {
        match usable(candidate, launch.compat) {
            Ok(()) => {
                let directory = directory(launch)?;
                return Ok(Entrypoint { program: candidate.into(), args: Vec::new(), directory });
            }
            Err(reason) => unusable = unusable.or(reason),
        }
    }
    let list: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    let reason =
        unusable.unwrap_or_else(|| format!("Couldn't find valid bootstrap(s): [{}]", list.join(" ")));
    Err(StartError::InvalidEntrypoint(reason))
}

/// EN-19, with the deployment's own runtime directory ahead of the fixed one.
fn candidates(launch: &Launch) -> Vec<PathBuf> {
    let folders = [
        launch.task_root.as_path(),
        Path::new("/var/task"),
        Path::new("/opt"),
        launch.runtime_dir.as_path(),
        Path::new("/var/runtime"),
    ];
    let mut paths = Vec::new();
    for path in folders.map(|folder| folder.join("bootstrap")) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// EN-21: a regular file (or a link to one) that somebody may execute. `Err(None)` when there is simply nothing.
fn usable(path: &Path, compat: Compat) -> Result<(), Option<String>> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(None)
        }
        Err(error) => Err(Some(format!("fork/exec {shown}: {error}"))),
        Ok(metadata) if !metadata.is_file() => Err(Some(format!("fork/exec {shown}: not a regular file"))),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Err(Some(format!("fork/exec {shown}: permission denied")))
        }
        // aws-custom-runtime starts bootstraps through a shell, which takes such a file for a script of its own.
        Ok(_) if !compat.is_custom_runtime() && is_script_of_nobody(path) => {
            Err(Some(format!("fork/exec {shown}: exec format error")))
        }
        Ok(_) => Ok(()),
    }
}

/// Whether the kernel would refuse the format. It is looked at here because the C library runs such files with `sh`
/// instead. Only Linux's formats are known; a file that cannot be read may still be a program.
pub(super) fn is_script_of_nobody(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut magic));
    cfg!(target_os = "linux") && read.is_ok() && !magic.starts_with(b"#!") && magic != *b"\x7fELF"
}

/// EN-22. A task root that was named must be there; the default one need not.
fn directory(launch: &Launch) -> Result<PathBuf, StartError> {
    if launch.task_root.is_dir() {
        return Ok(launch.task_root.clone());
    }
    if launch.task_root_given {
        let reason = format!("chdir {}: not a directory", launch.task_root.display());
        return Err(StartError::InvalidWorkingDir(reason));
    }
    Ok(PathBuf::from("."))
}

/// What a refused start means: a broken program is the function's, a full machine is ours.
pub(crate) fn refused(program: &OsStr, error: &io::Error) -> StartError {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let reason = format!("fork/exec {}: {}", program.to_string_lossy(), words(error, errno));
    match errno {
        Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => StartError::Sandbox(reason),
        _ => StartError::InvalidEntrypoint(reason),
    }
}

/// `exec format error` rather than `Exec format error (os error 8)`.
pub(super) fn words(error: &io::Error, errno: Option<Errno>) -> String {
    errno.map_or_else(|| error.to_string(), |errno| errno.desc().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn launch(variables: &[(&str, &str)], command: &[&str]) -> Launch {
        let variables = variables.iter().map(|(k, v)| (k.into(), v.into()));
        Config::read(variables, command.iter().map(OsString::from).collect::<Vec<_>>()).unwrap().launch
    }

    #[test]
    fn the_command_beats_the_lookup() {
        let found = find(&launch(&[], &["python3", "app.py"])).unwrap();
        assert_eq!((found.program, found.args), ("python3".into(), vec!["app.py".into()]));
    }

    #[test]
    fn en_19_the_order_is_the_contracts() {
        let paths = candidates(&launch(&[("LAMBDA_TASK_ROOT", "/t"), ("LAMBDA_RUNTIME_DIR", "/r")], &[]));
        let expected =
            ["/t", "/var/task", "/opt", "/r", "/var/runtime"].map(|f| Path::new(f).join("bootstrap"));
        assert_eq!(paths, expected);
        assert_eq!(candidates(&launch(&[], &[])).len(), 3);
    }

    #[test]
    fn errors_name_the_path() {
        let error = refused(OsStr::new("/x/bootstrap"), &io::Error::from_raw_os_error(Errno::ENOEXEC as i32));
        assert_eq!(error.to_string(), "fork/exec /x/bootstrap: exec format error");
        let error = refused(OsStr::new("x"), &io::Error::from_raw_os_error(Errno::ENOMEM as i32));
        assert!(matches!(error, StartError::Sandbox(_)));
    }
}
