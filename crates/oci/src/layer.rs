//! Layers whose bytes depend on nothing but what is in them.
//!
//! Entries are sorted (a folder before what is in it), times are 0, owners are root, modes are 0755 or 0644 (folders that
//! are added by name may have others), the gzip header is fixed. Tar, both digests and compression run in one streaming pass, so memory stays bounded whatever the
//! layer's size. `build-tasks assemble` is the caller.
//!
//! The compressor is flate2's own. Faster ones (zlib-ng, zlib-rs) pick their matches by what the processor offers, so two
//! machines would make two blobs of one tar.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};

use flate2::{Compression, GzBuilder};
use fs_err as fs;

use crate::{
    digest::{Digest, DigestWriter},
    manifest::Descriptor,
    media_type,
};

const MAX_ENTRIES: usize = 2_000_000;
const FOLDER_MODE: u32 = 0o755;
const COPY_BUFFER: usize = 128 * 1024;
/// Names longer than the field of the old header go into a pax record.
const NAME_FIELD: usize = 100;

/// What will be in a layer. Paths are image paths without the leading `/`.
#[derive(Debug, Default)]
pub struct LayerBuilder {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
enum Entry {
    Folder { mode: u32 },
    File { source: PathBuf, executable: bool },
    Bytes { bytes: Vec<u8>, executable: bool },
    Link { target: PathBuf },
}

/// A written layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerBlob {
    /// Type, digest and length of the compressed bytes.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Length of the uncompressed tar.
    pub tar_bytes: u64,
}

/// Why a layer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Reading the source or writing the result failed.
    #[error("failed to write the layer")]
    Io(#[from] io::Error),
    /// A symbolic link climbs above the layer's root.
    #[error("symbolic link `{path}` leads out of the layer: {target}")]
    LinkLeaves {
        /// The link.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// A socket, pipe or device.
    #[error("`{0}` is neither a file, a folder nor a symbolic link")]
    Special(PathBuf),
    /// Not a plain relative path.
    #[error("`{0}` is not a path inside the image")]
    BadPath(PathBuf),
    /// A file got shorter or longer while it was read.
    #[error("`{0}` changed while it was read")]
    Changed(PathBuf),
    /// More entries than a layer may have.
    #[error("the layer has more than {MAX_ENTRIES} entries")]
    TooMany,
}

// === impl LayerBuilder ===

impl LayerBuilder {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries there are, folders included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds everything inside `dir` at the root of the image.
    ///
    /// # Errors
    /// When something cannot be read, is no file, folder or symbolic link, or a link leads out of `dir`.
    pub fn add_tree(&mut self, dir: &Path) -> Result<(), LayerError> {
        let mut waiting = vec![PathBuf::new()];
        while let Some(at) = waiting.pop() {
            for entry in fs::read_dir(dir.join(&at))? {
                let entry = entry?;
                let path = at.join(entry.file_name());
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    waiting.push(path.clone());
                    self.insert(path, Entry::Folder { mode: FOLDER_MODE })?;
                } else if kind.is_symlink() {
                    self.insert_link(path, fs::read_link(entry.path())?)?;
                } else if kind.is_file() {
                    let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
                    self.insert(path, Entry::File { source: entry.path(), executable })?;
                } else {
                    return Err(LayerError::Special(entry.path()));
                }
            }
        }
        Ok(())
    }

    /// Adds the file `source` at the image path `at`.
    ///
    /// # Errors
    /// [`LayerError::BadPath`] when `at` is not a plain path.
    pub fn add_file(&mut self, at: &str, source: &Path, executable: bool) -> Result<(), LayerError> {
        let at = self.with_parents(at)?;
        self.insert(at, Entry::File { source: source.to_owned(), executable })
    }

    /// Adds a file of `bytes` at the image path `at`.
    ///
    /// # Errors
    /// [`LayerError::BadPath`] when `at` is not a plain path.
    pub fn add_bytes(&mut self, at: &str, bytes: Vec<u8>, executable: bool) -> Result<(), LayerError> {
        let at = self.with_parents(at)?;
        self.insert(at, Entry::Bytes { bytes, executable })
    }

    /// Adds an empty folder at the image path `at`, such as `tmp` with mode 1777.
    ///
    /// # Errors
    /// [`LayerError::BadPath`] when `at` is not a plain path.
    pub fn add_folder(&mut self, at: &str, mode: u32) -> Result<(), LayerError> {
        let at = self.with_parents(at)?;
        self.insert(at, Entry::Folder { mode: mode & 0o7777 })
    }

    /// Adds a symbolic link at the image path `at`.
    ///
    /// # Errors
    /// [`LayerError::BadPath`] when `at` is not a plain path, [`LayerError::LinkLeaves`] when `target` climbs above the root.
    pub fn add_link(&mut self, at: &str, target: &Path) -> Result<(), LayerError> {
        let at = self.with_parents(at)?;
        self.insert_link(at, target.to_owned())
    }

    /// Digest and length of the uncompressed tar, without compressing it: a known tar has a known blob.
    ///
    /// # Errors
    /// When a source file cannot be read.
    pub fn diff_id(&self) -> Result<(Digest, u64), LayerError> {
        let mut tar = DigestWriter::new(io::sink());
        self.write_tar(&mut tar)?;
        let (_, digest, bytes) = tar.finish();
        Ok((digest, bytes))
    }

    /// Writes the gzipped layer to `out` in one pass.
    ///
    /// # Errors
    /// When a source file cannot be read or `out` not written.
    pub fn write_blob(&self, out: impl Write) -> Result<LayerBlob, LayerError> {
        let blob = DigestWriter::new(io::BufWriter::with_capacity(COPY_BUFFER, out));
        let gzip = GzBuilder::new().mtime(0).operating_system(255).write(blob, Compression::new(6));
        let mut tar = DigestWriter::new(gzip);
        self.write_tar(&mut tar)?;
        let (gzip, diff_id, tar_bytes) = tar.finish();
        let (buffered, digest, size) = gzip.finish()?.finish();
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?.flush()?;
        let descriptor = Descriptor::new(media_type::LAYER_GZIP, digest, size);
        Ok(LayerBlob { descriptor, diff_id, tar_bytes })
    }

    /// Writes the uncompressed tar.
    ///
    /// # Errors
    /// When a source file cannot be read or `out` not written.
    pub fn write_tar(&self, out: impl Write) -> Result<(), LayerError> {
        let mut tar = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            append(&mut tar, path, entry)?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    fn insert_link(&mut self, path: PathBuf, target: PathBuf) -> Result<(), LayerError> {
        if leaves(&path, &target) {
            return Err(LayerError::LinkLeaves { path, target });
        }
        self.insert(path, Entry::Link { target })
    }

    fn insert(&mut self, path: PathBuf, entry: Entry) -> Result<(), LayerError> {
        if self.entries.len() >= MAX_ENTRIES {
            return Err(LayerError::TooMany);
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Checks an image path and adds the folders above it.
    fn with_parents(&mut self, at: &str) -> Result<PathBuf, LayerError> {
        let path = PathBuf::from(at);
        let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
        if at.is_empty() || !plain {
            return Err(LayerError::BadPath(path));
        }
        for folder in path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            self.entries.entry(folder.to_owned()).or_insert(Entry::Folder { mode: FOLDER_MODE });
        }
        Ok(path)
    }
}

/// Whether a relative link climbs above the root. An absolute one is an image path and stays inside by definition.
fn leaves(path: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        return false;
    }
    let mut depth = path.components().count() - 1;
    for component in target.components() {
        match component {
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    false
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &Path, entry: &Entry) -> Result<(), LayerError> {
    match entry {
        Entry::Folder { mode } => {
            let mut name = path.as_os_str().as_bytes().to_vec();
            name.push(b'/');
            write_entry(tar, &name, &[], tar::EntryType::Directory, (*mode, 0), io::empty())?;
        }
        Entry::Link { target } => {
            let target = target.as_os_str().as_bytes();
            write_entry(tar, bytes_of(path), target, tar::EntryType::Symlink, (0o777, 0), io::empty())?;
        }
        Entry::Bytes { bytes, executable } => {
            let meta = (mode(*executable), bytes.len() as u64);
            write_entry(tar, bytes_of(path), &[], tar::EntryType::Regular, meta, bytes.as_slice())?;
        }
        Entry::File { source, executable } => append_file(tar, path, source, mode(*executable))?,
    }
    Ok(())
}

fn append_file<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &Path,
    source: &Path,
    mode: u32,
) -> Result<(), LayerError> {
    let file = fs::File::open(source)?;
    let size = file.metadata()?.len();
    let mut exact =
        Exact { inner: io::BufReader::with_capacity(COPY_BUFFER, file), left: size, changed: false };
    let meta = (mode, size);
    let written = write_entry(tar, bytes_of(path), &[], tar::EntryType::Regular, meta, &mut exact);
    if exact.changed {
        return Err(LayerError::Changed(source.to_owned()));
    }
    Ok(written?)
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

/// One entry with everything that could differ between machines set to a fixed value.
fn write_entry<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &[u8],
    link: &[u8],
    kind: tar::EntryType,
    (mode, size): (u32, u64),
    data: impl Read,
) -> io::Result<()> {
    let mut long: Vec<(&str, &[u8])> = Vec::new();
    if name.len() > NAME_FIELD {
        long.push(("path", name));
    }
    if link.len() > NAME_FIELD {
        long.push(("linkpath", link));
    }
    tar.append_pax_extensions(long)?;
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len().min(NAME_FIELD)]
        .copy_from_slice(&name[..name.len().min(NAME_FIELD)]);
    header.as_old_mut().linkname[..link.len().min(NAME_FIELD)]
        .copy_from_slice(&link[..link.len().min(NAME_FIELD)]);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    tar.append(&header, data)
}

/// Reads exactly as many bytes as the header says.
struct Exact<R> {
    inner: R,
    left: u64,
    changed: bool,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            self.changed |= self.inner.read(&mut [0])? != 0;
            return Ok(0);
        }
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buf[..want])?;
        if read == 0 {
            self.changed = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("var/task/pkg")).unwrap();
        fs::write(dir.path().join("var/task/main.py"), "print(1)\n").unwrap();
        fs::write(dir.path().join("var/task/pkg").join("x".repeat(180)), "long").unwrap();
        fs::write(dir.path().join("var/task/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.path().join("var/task/run"), PermissionsExt::from_mode(0o700)).unwrap();
        symlink("../task/main.py", dir.path().join("var/task/link")).unwrap();
        dir
    }

    fn blob(dir: &Path) -> (LayerBlob, Vec<u8>) {
        let mut builder = LayerBuilder::new();
        builder.add_tree(dir).unwrap();
        let mut bytes = Vec::new();
        (builder.write_blob(&mut bytes).unwrap(), bytes)
    }

    #[test]
    fn same_content_same_bytes() {
        let (one, two) = (tree(), tree());
        fs::set_permissions(two.path().join("var/task/main.py"), PermissionsExt::from_mode(0o600)).unwrap();
        let ((a, bytes), (b, _)) = (blob(one.path()), blob(two.path()));
        assert_eq!(a, b);
        assert_eq!(a.descriptor.digest, Digest::of(&bytes));
        assert_eq!(a.descriptor.size, bytes.len() as u64);
        let mut builder = LayerBuilder::new();
        builder.add_tree(one.path()).unwrap();
        assert_eq!(builder.diff_id().unwrap(), (a.diff_id, a.tar_bytes));
    }

    /// The bytes are part of the contract: another version of a compressor must not change every image.
    #[test]
    fn known_bytes() {
        let mut builder = LayerBuilder::new();
        builder.add_bytes("var/task/a", b"hello".to_vec(), false).unwrap();
        let blob = builder.write_blob(Vec::new()).unwrap();
        assert_eq!(
            blob.diff_id.as_str(),
            "sha256:ea300f276155d2f2ed77eafef8d38345179821c670de507d9eac628a0c3cdf54"
        );
    }

    #[test]
    fn entries_are_sorted_and_neutral() {
        let dir = tree();
        let (_, bytes) = blob(dir.path());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
            seen.push((entry.path().unwrap().into_owned(), header.mode().unwrap()));
        }
        let long = format!("var/task/pkg/{}", "x".repeat(180));
        let want = [
            ("var/", 0o755),
            ("var/task/", 0o755),
            ("var/task/link", 0o777),
            ("var/task/main.py", 0o644),
            ("var/task/pkg/", 0o755),
            (long.as_str(), 0o644),
            ("var/task/run", 0o755),
        ];
        assert_eq!(seen, want.map(|(path, mode)| (PathBuf::from(path), mode)));
    }

    #[test]
    fn modes_of_named_folders_and_links() {
        let mut builder = LayerBuilder::new();
        builder.add_folder("tmp", 0o1777).unwrap();
        builder.add_bytes("tmp/a", Vec::new(), false).unwrap();
        builder.add_link("bin/sh", Path::new("busybox")).unwrap();
        assert!(builder.add_link("sh", Path::new("../busybox")).is_err());
        let mut bytes = Vec::new();
        builder.write_tar(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap()))
            .collect();
        let want = [("bin/", 0o755), ("bin/sh", 0o777), ("tmp/", 0o1777), ("tmp/a", 0o644)];
        assert_eq!(seen, want.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn links_out_of_the_root_are_refused() {
        let dir = tree();
        symlink("../../../etc/passwd", dir.path().join("var/task/out")).unwrap();
        let error = LayerBuilder::new().add_tree(dir.path()).unwrap_err();
        assert!(matches!(error, LayerError::LinkLeaves { .. }), "{error}");
    }

    #[test]
    fn sockets_are_refused() {
        let dir = tree();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        assert!(matches!(LayerBuilder::new().add_tree(dir.path()), Err(LayerError::Special(_))));
    }

    #[test]
    fn bad_image_paths_are_refused() {
        for path in ["", "/abs", "../up", "a/../b", "."] {
            assert!(LayerBuilder::new().add_bytes(path, Vec::new(), false).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn links_never_climb(parts in prop::collection::vec(prop_oneof!["\\.\\.", "[a-c]"], 0..8), depth in 1usize..5) {
            let path: PathBuf = (0..depth).map(|_| "d").collect();
            let target: PathBuf = parts.iter().collect();
            let mut level = depth as i64 - 1;
            let mut lowest = level;
            for part in &parts {
                level += if part == ".." { -1 } else { 1 };
                lowest = lowest.min(level);
            }
            prop_assert_eq!(leaves(&path, &target), lowest < 0);
        }
    }
}
