//! The files of `runtimes/`: what goes into `/var/runtime` besides AWS's own clients.

use std::{os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;

const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/runtimes.in"));

/// Writes a language's files into `dir`. Files without an ending are programs.
pub(crate) fn write(language: &str, dir: &Path) -> std::io::Result<()> {
    for (name, bytes) in FILES {
        let Some(path) = name.strip_prefix(language).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let to = dir.join(path);
        fs::create_dir_all(to.parent().unwrap_or(dir))?;
        fs::write(&to, bytes)?;
        let program = to.extension().is_none();
        fs::set_permissions(&to, PermissionsExt::from_mode(if program { 0o755 } else { 0o644 }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_runtime_has_a_bootstrap() {
        let dir = tempfile::tempdir().unwrap();
        write("python", dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join("bootstrap")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
