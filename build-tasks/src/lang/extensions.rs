//! External extensions: a folder `extensions` of programs beside the function comes to `/opt/extensions`, as from a layer of
//! Lambda's. The shim starts them.
//!
//! A folder of that name may as well be a package of the function's own. It is taken for extensions only when every file
//! right in it is an executable program; it stays in `/var/task` in any case.

use std::{os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;

use super::{Build, CODE, elf};
use crate::{error::Failure, output, tree};

const FOLDER: &str = "extensions";

/// Puts them into the function's layer.
pub(super) fn build(build: &Build) -> Result<(), Failure> {
    let from = build.workspace.source().join(FOLDER);
    if !are_programs(&from)? {
        return Ok(());
    }
    output::note("the programs of `extensions` become Lambda extensions in /opt/extensions");
    let to = build.workspace.layer(CODE).join("opt").join(FOLDER);
    Ok(tree::copy(&from, &to, &tree::is_leftover)?)
}

/// Whether the folder is there and holds programs, and no other files; folders in it are theirs.
fn are_programs(folder: &Path) -> Result<bool, Failure> {
    if !folder.is_dir() {
        return Ok(false);
    }
    let mut any = false;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // A link that leads nowhere is no program, and no reason to fail.
        let Ok(metadata) = fs::metadata(&path) else { return Ok(false) };
        if metadata.is_dir() {
            continue;
        }
        let executable = metadata.permissions().mode() & 0o111 != 0;
        if !executable || elf::look(&path)? == elf::Program::Other {
            return Ok(false);
        }
        any = true;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_programs_is_told_from_a_package() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(FOLDER);
        let write = |name: &str, text: &str, mode: u32| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(!are_programs(&folder).unwrap(), "there is none");
        fs::create_dir_all(folder.join("lib")).unwrap();
        assert!(!are_programs(&folder).unwrap(), "it is empty");
        write("agent", "#!/bin/sh\n", 0o755);
        assert!(are_programs(&folder).unwrap());
        write("text", "hello\n", 0o755);
        assert!(!are_programs(&folder).unwrap(), "executable, but no program");
        write("text", "#!/bin/sh\n", 0o644);
        assert!(!are_programs(&folder).unwrap(), "a program, but not executable");
        fs::remove_file(folder.join("text")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("link")).unwrap();
        assert!(!are_programs(&folder).unwrap());
    }
}
