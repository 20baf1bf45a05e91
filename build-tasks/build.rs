//! Makes a table of the files under `runtimes/`, so that the binary carries them whatever they are called.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("runtimes");
    println!("cargo:rerun-if-changed=runtimes");
    let mut files = Vec::new();
    collect(&root, "", &mut files)?;
    files.sort();
    let rows: Vec<String> = files
        .iter()
        // The folder is filled in when the table is compiled: a checkout that moved keeps what was built.
        .map(|name| {
            let path = format!("/runtimes/{name}");
            format!("({name:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))),")
        })
        .collect();
    let table = format!("&[\n{}\n]\n", rows.join("\n"));
    fs::write(Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("runtimes.in"), table)
}

/// Names of all files below `root`, but for tests and what tools leave behind.
fn collect(root: &Path, at: &str, files: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(at)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || ["__pycache__", "node_modules", "test", "tests"].contains(&name.as_str())
        {
            continue;
        }
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        if entry.file_type()?.is_dir() {
            println!("cargo:rerun-if-changed=runtimes/{path}");
            collect(root, &path, files)?;
        } else {
            println!("cargo:rerun-if-changed=runtimes/{path}");
            files.push(path);
        }
    }
    Ok(())
}
