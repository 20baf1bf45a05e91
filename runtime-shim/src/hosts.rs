//! `sandbox.localdomain`, the name under which Lambda's environments know themselves (EX-11).
//!
//! The shim delivers telemetry to 127.0.0.1 and needs no name. Some extensions, though, listen on that name, and it has to
//! resolve. In a container of our own (we are PID 1, and may write its `/etc/hosts`) a line is added, where there are external
//! extensions. Anywhere else the machine's files are not ours: the image or the pod (`hostAliases`) has to name it.

use std::io::Write as _;
use std::path::Path;

const NAMES: &str = "sandbox.localdomain sandbox";

/// Adds the name to the container's hosts, where that is needed and ours to do.
pub(crate) fn name_the_sandbox(file: &Path) {
    if std::process::id() != 1 {
        return;
    }
    if let Err(error) = add(file) {
        tracing::info!(%error, "extensions that listen on sandbox.localdomain need it in {}", file.display());
    }
}

fn add(file: &Path) -> std::io::Result<()> {
    let text = std::fs::read_to_string(file)?;
    let uncommented = text.lines().filter_map(|line| line.split('#').next());
    if uncommented.flat_map(str::split_whitespace).any(|word| word == "sandbox.localdomain") {
        return Ok(());
    }
    let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    // Appended in place: the file is often a mount of its own, which cannot be replaced.
    let mut file = std::fs::OpenOptions::new().append(true).open(file)?;
    file.write_all(format!("{separator}127.0.0.1 {NAMES}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ex_11_the_name_is_added_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = || std::fs::read_to_string(file.path()).unwrap();
        std::fs::write(file.path(), "127.0.0.1 localhost # sandbox.localdomain").unwrap();
        add(file.path()).unwrap();
        let expected = "127.0.0.1 localhost # sandbox.localdomain\n127.0.0.1 sandbox.localdomain sandbox\n";
        assert_eq!(text(), expected);
        add(file.path()).unwrap();
        assert_eq!(text(), expected);
        assert!(add(Path::new("/nonexistent/hosts")).is_err());
    }
}
