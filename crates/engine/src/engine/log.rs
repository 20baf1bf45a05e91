//! The engine's own log. It goes to stderr, which the command that starts the engine points at a file; when that file has
//! grown large it becomes its own predecessor (`engine.log.1`), of which there is one, and stderr begins anew.

use std::{
    fs::{File, Metadata},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use fs_err as fs;
use nix::unistd::dup2_stderr;
use tracing_subscriber::fmt::MakeWriter;

/// Size beyond which the log begins anew: with its predecessor it takes at most twice that.
const LIMIT: u64 = 8 << 20;

/// Writes to stderr and sees to the file behind it.
#[derive(Debug)]
pub(super) struct Log {
    /// `None` when stderr is not the engine's file: a terminal, a pipe, the journal.
    file: Option<Mutex<Rotation>>,
}

/// How far the file has grown.
#[derive(Debug)]
struct Rotation {
    path: PathBuf,
    written: u64,
    limit: u64,
}

/// One line on its way.
pub(super) struct Line<'a>(&'a Log);

// === impl Log ===

impl Log {
    /// A log that rotates `path`, if that is where stderr goes.
    pub(super) fn to(path: PathBuf) -> Self {
        let stderr = io::stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
        let file = match (stderr, fs::metadata(&path)) {
            (Ok(stderr), Ok(file)) if same(&stderr, &file) => {
                Some(Mutex::new(Rotation { path, written: file.len(), limit: LIMIT }))
            }
            _ => None,
        };
        Self { file }
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

// === impl Line ===

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &self.0.file else { return io::stderr().write(bytes) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let count = io::stderr().write(bytes)?;
        // A log that cannot be rotated is still a log.
        let _ = file.wrote(count, |fresh| dup2_stderr(fresh).map_err(io::Error::from));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

// === impl Rotation ===

impl Rotation {
    /// Counts, and begins a new file when the limit is passed; `redirect` makes it the one that is written to.
    fn wrote(&mut self, count: usize, redirect: impl FnOnce(File) -> io::Result<()>) -> io::Result<()> {
        self.written += count as u64;
        if self.written <= self.limit {
            return Ok(());
        }
        self.written = 0;
        let before = self.path.with_extension("log.1");
        fs::rename(&self.path, before)?;
        let fresh = fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        redirect(fresh.into_parts().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_and_its_predecessor_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("engine.log");
        let mut file = File::create(&path).expect("it is made");
        let mut rotation = Rotation { path: path.clone(), written: 0, limit: 100 };
        for number in 0..50 {
            let line = format!("line {number:02}..\n");
            file.write_all(line.as_bytes()).expect("it writes");
            rotation
                .wrote(line.len(), |fresh| {
                    file = fresh;
                    Ok(())
                })
                .expect("it rotates");
        }
        let names = fs::read_dir(folder.path()).expect("it lists").count();
        assert_eq!(names, 2, "one predecessor");
        let read = |path| fs::read_to_string(path).expect("it reads");
        let (before, now) = (read(folder.path().join("engine.log.1")), read(path));
        assert!(before.len() <= 110 && now.len() <= 110, "{} {}", before.len(), now.len());
        assert!((before + &now).ends_with("line 48..\nline 49..\n"), "nothing is lost at the end");
    }
}
