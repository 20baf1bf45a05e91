//! Custom runtimes: a program called `bootstrap`, ready to run, and whatever it needs beside it.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use fs_err as fs;

use super::{Build, CODE, elf};
use crate::{error::Failure, output, tree, workspace::BuildConfig};

/// Puts the source into `/var/task` with an executable `bootstrap`.
pub(super) fn build(build: &Build) -> Result<(), Failure> {
    let task = build.workspace.fresh_layer(CODE)?.join("var/task");
    let program = find(build.workspace.source())?;
    tree::copy(build.workspace.source(), &task, &tree::is_leftover)?;
    let bootstrap = task.join("bootstrap");
    if program != Path::new("bootstrap") {
        output::note(&format!("`{}` becomes `bootstrap`", program.display()));
        fs::rename(task.join(&program), &bootstrap)?;
    }
    make_executable(&bootstrap)?;
    warn_if_not_startable(&bootstrap)?;
    build.workspace.write_config(&BuildConfig {
        runtime: "provided".into(),
        handler: if build.handler.is_empty() { "bootstrap".into() } else { build.handler.clone() },
        ..BuildConfig::default()
    })
}

/// Takes a ready `bootstrap` of the source, if it has one; Go's Task does so too.
pub(super) fn has_bootstrap(source: &Path) -> bool {
    source.join("bootstrap").is_file()
}

/// The program: `bootstrap`, or the only binary there is, or the only one that cargo lambda made.
fn find(source: &Path) -> Result<PathBuf, Failure> {
    if has_bootstrap(source) {
        return Ok("bootstrap".into());
    }
    let binaries = programs(source)?;
    if let [one] = binaries.as_slice() {
        return Ok(one.clone());
    }
    let made = programs_of_cargo_lambda(source)?;
    if let [one] = made.as_slice() {
        return Ok(one.clone());
    }
    Err(Failure::because("there is no `bootstrap` in the source")
        .hint("a custom runtime is a program called `bootstrap`, or a single binary, built for Linux"))
}

fn programs(source: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let is_program = entry.file_type()?.is_file()
            && matches!(elf::look(&entry.path())?, elf::Program::Native | elf::Program::Foreign);
        if is_program {
            found.push(entry.file_name().into());
        }
    }
    Ok(found)
}

fn programs_of_cargo_lambda(source: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Ok(entries) = fs::read_dir(source.join("target/lambda")) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = Path::new("target/lambda").join(entry?.file_name()).join("bootstrap");
        if source.join(&path).is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

fn make_executable(bootstrap: &Path) -> Result<(), Failure> {
    let mode = fs::metadata(bootstrap)?.permissions().mode();
    if mode & 0o111 == 0 {
        output::note("`bootstrap` was not executable and is now");
    }
    Ok(fs::set_permissions(bootstrap, PermissionsExt::from_mode(0o755))?)
}

/// The builder and the function may run on different machines, so this is a note and no error.
pub(super) fn warn_if_not_startable(bootstrap: &Path) -> Result<(), Failure> {
    match elf::look(bootstrap)? {
        elf::Program::Native | elf::Program::Script => {}
        elf::Program::Foreign => {
            output::note("`bootstrap` is built for another kind of machine than this one")
        }
        elf::Program::Other => output::note("`bootstrap` is neither a Linux binary nor begins with `#!`"),
    }
    Ok(())
}
