//! Packs a source into a tar.gz on disk, deterministically: sorted, without times and owners, so that the same files have
//! the same digest everywhere. Links that leave the source are refused.

use std::{
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use fs_err as fs;
use ignore::WalkBuilder;
use sha2::{Digest, Sha256};

use super::{IGNORE_FILES, TM_IGNORE};
use crate::error::HintExt;

/// Larger sources are refused: a Lambda package is at most 250 MB, and nobody means to upload a disk.
pub(crate) const SOURCE_LIMIT: u64 = 1 << 30;

/// Never part of a source.
const NEVER: &[&str] = &[".git", ".hg", ".svn", ".DS_Store"];

/// A packed source.
#[derive(Debug)]
pub(crate) struct Archive {
    file: fs::File,
    /// Length in bytes.
    pub(crate) length: u64,
    /// sha256 of the bytes, in hex.
    pub(crate) sha256: String,
}

/// Packs a directory, or a single file as a directory with that file. Blocking.
pub(crate) fn pack(path: &Path) -> Result<Archive> {
    let entries = if path.is_dir() { walk(path)? } else { single(path)? };
    if entries.is_empty() {
        return Err(anyhow::anyhow!("`{}` has no files to deploy", path.display()))
            .hint("put the function's source there; `.tmignore` and `.gitignore` say what is left out");
    }
    check_size(&entries)?;
    let file = tempfile::tempfile().context("failed to make a temporary file")?;
    let mut hashing = Hashing { inner: BufWriter::new(file), hash: Sha256::new(), length: 0 };
    let gzip = GzBuilder::new().mtime(0).write(&mut hashing, Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for entry in &entries {
        append(&mut tar, entry).with_context(|| format!("failed to pack `{}`", entry.path.display()))?;
    }
    tar.into_inner()?.finish()?;
    let Hashing { inner, hash, length } = hashing;
    let mut file = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    let file = fs::File::from_parts(file, "the packed source");
    Ok(Archive { file, length, sha256: hex::encode(hash.finalize()) })
}

/// One file, link or directory.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    name: PathBuf,
    metadata: std::fs::Metadata,
}

fn single(path: &Path) -> Result<Vec<Entry>> {
    let name = path.file_name().context("the source has no file name")?;
    let metadata = fs::metadata(path)?;
    Ok(vec![Entry { path: path.into(), name: name.into(), metadata }])
}

fn walk(root: &Path) -> Result<Vec<Entry>> {
    let mut builder = WalkBuilder::new(root);
    builder.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
    // Each file's patterns are anchored where it lies, as git's are. `.gitignore` counts outside of repositories, too.
    if root.join(TM_IGNORE).is_file() {
        builder.add_custom_ignore_filename(TM_IGNORE);
    } else {
        builder.git_ignore(true).require_git(false);
    }
    builder.filter_entry(|entry| !NEVER.iter().any(|name| entry.file_name() == *name));
    let mut entries = Vec::new();
    for entry in builder.build() {
        let entry = entry.with_context(|| format!("failed to read `{}`", root.display()))?;
        if let Some(error) = entry.error() {
            let text = format!("failed to read what `{}` leaves out: {error}", entry.path().display());
            return Err(anyhow::anyhow!(text)).hint("mend the pattern: they are those of `.gitignore` files");
        }
        let path = entry.into_path();
        let name = path.strip_prefix(root).context("an entry lies outside of the source")?.to_owned();
        if name.as_os_str().is_empty() || IGNORE_FILES.iter().any(|ignore| name == Path::new(ignore)) {
            continue;
        }
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_symlink() {
            check_link(&path, &name)?;
        } else if !metadata.is_dir() && !metadata.is_file() {
            bail!("`{}` is neither a file nor a directory nor a link", path.display());
        }
        entries.push(Entry { path, name, metadata });
    }
    let files = entries.iter().any(|entry| !entry.metadata.is_dir());
    Ok(if files { entries } else { Vec::new() })
}

/// A link may point anywhere inside the source and nowhere else.
fn check_link(path: &Path, name: &Path) -> Result<()> {
    let target = fs::read_link(path)?;
    let mut depth = name.components().count() - 1;
    let mut inside = target.is_relative();
    for part in target.components() {
        match part {
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            _ => inside = false,
        }
    }
    if inside {
        return Ok(());
    }
    Err(anyhow::anyhow!("`{}` is a link to `{}`, outside of the source", name.display(), target.display()))
        .hint("put the file itself into the source, or leave the link out with `.tmignore`")
}

fn check_size(entries: &[Entry]) -> Result<()> {
    let total: u64 =
        entries.iter().filter(|entry| entry.metadata.is_file()).map(|entry| entry.metadata.len()).sum();
    if total <= SOURCE_LIMIT {
        return Ok(());
    }
    let largest =
        entries.iter().filter(|entry| entry.metadata.is_file()).max_by_key(|entry| entry.metadata.len());
    let named = largest.map(|entry| entry.name.display().to_string()).unwrap_or_default();
    let size = indicatif::HumanBytes(total);
    Err(anyhow::anyhow!("the source has {size}, more than {}", indicatif::HumanBytes(SOURCE_LIMIT)))
        .hint(format!("leave files out with `.tmignore`; the largest is `{named}`"))
}

fn append<W: Write>(tar: &mut tar::Builder<W>, entry: &Entry) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut header = tar::Header::new_gnu();
    let executable = entry.metadata.permissions().mode() & 0o111 != 0;
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(if entry.metadata.is_dir() || executable { 0o755 } else { 0o644 });
    header.set_size(0);
    if entry.metadata.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        return tar.append_link(&mut header, &entry.name, fs::read_link(&entry.path)?);
    }
    if entry.metadata.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        return tar.append_data(&mut header, &entry.name, io::empty());
    }
    header.set_size(entry.metadata.len());
    // A file that grows while it is read would break the archive; one that shrinks is an error.
    let mut content = fs::File::open(&entry.path)?.take(entry.metadata.len());
    tar.append_data(&mut header, &entry.name, &mut content)?;
    if content.limit() > 0 {
        Err(io::Error::other("the file became shorter while it was read"))
    } else {
        Ok(())
    }
}

/// Counts and hashes what goes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    length: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

// === impl Archive ===

impl Archive {
    /// Reads it from the beginning.
    pub(crate) fn reader(&self) -> io::Result<tokio::fs::File> {
        let mut file = self.file.file().try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(tokio::fs::File::from_std(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, text).expect("it writes");
        }
        folder
    }

    fn names(archive: &Archive) -> Vec<String> {
        let mut file = archive.file.file().try_clone().expect("it clones");
        file.seek(SeekFrom::Start(0)).expect("it seeks");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
        tar.entries()
            .expect("entries")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
            .collect()
    }

    #[test]
    fn ignore_files_are_obeyed_and_left_out() {
        let folder = source(&[
            ("a.py", "1"),
            ("b.log", "2"),
            (".git/config", "3"),
            (".gitignore", "*.log\n"),
            ("d/c.py", "4"),
        ]);
        assert_eq!(names(&pack(folder.path()).expect("it packs")), ["a.py", "d", "d/c.py"]);
        fs::write(folder.path().join(".tmignore"), "d\n").expect("it writes");
        assert_eq!(names(&pack(folder.path()).expect("it packs")), ["a.py", "b.log"]);
    }

    #[test]
    fn patterns_are_anchored_where_their_file_lies() {
        let folder = source(&[
            (".gitignore", "/target/\n/.env\nd/*.bin\n!d/keep.bin\n"),
            ("target/big", "1"),
            (".env", "SECRET=1"),
            ("d/a.bin", "2"),
            ("d/keep.bin", "3"),
            ("d/.gitignore", "/b\n"),
            ("d/b", "4"),
            ("d/target/c", "5"),
        ]);
        let packed = ["d", "d/.gitignore", "d/keep.bin", "d/target", "d/target/c"];
        assert_eq!(names(&pack(folder.path()).expect("it packs")), packed);
        fs::write(folder.path().join(".tmignore"), "/d/\n/target/\n").expect("it writes");
        assert_eq!(names(&pack(folder.path()).expect("it packs")), [".env"]);
    }

    #[test]
    fn ignore_files_of_folders_above_do_not_count() {
        let folder = source(&[(".gitignore", "*\n"), ("f/a", "1")]);
        assert_eq!(names(&pack(&folder.path().join("f")).expect("it packs")), ["a"]);
    }

    #[test]
    fn a_pattern_that_is_none_is_an_error() {
        let folder = source(&[(".tmignore", "{a\n"), ("a", "1")]);
        let error = pack(folder.path()).expect_err("it is no pattern").to_string();
        assert!(error.contains(".tmignore") && error.contains("{a"), "{error}");
    }

    #[test]
    fn the_same_files_have_the_same_digest() {
        let (one, two) = (source(&[("x", "1"), ("y/z", "2")]), source(&[("y/z", "2"), ("x", "1")]));
        let digest = |folder: &tempfile::TempDir| pack(folder.path()).expect("it packs").sha256;
        assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn links_stay_inside() {
        let folder = source(&[("a", "1"), ("d/b", "2")]);
        std::os::unix::fs::symlink("../a", folder.path().join("d/fine")).expect("it links");
        assert!(pack(folder.path()).is_ok());
        for target in ["/etc/passwd", "../../a", "x/../../../a"] {
            let link = folder.path().join("d/bad");
            std::os::unix::fs::symlink(target, &link).expect("it links");
            let error = pack(folder.path()).expect_err("it leaves the source");
            assert!(error.to_string().contains("outside of the source"), "{target}: {error}");
            fs::remove_file(link).expect("it is there");
        }
    }

    #[test]
    fn nothing_to_deploy() {
        let folder = source(&[("d/.gitignore", "x")]);
        fs::remove_file(folder.path().join("d/.gitignore")).expect("it is there");
        assert!(pack(folder.path()).expect_err("it is empty").to_string().contains("no files"));
    }
}
