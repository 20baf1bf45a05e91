//! Tar archives onto disk, never outside their root.
//!
//! Uploaded sources (`build-tasks unpack`) and image layers ([`crate::unpack`]) come through here. The destination is a
//! folder that nobody else writes to while this runs, so a check of each path component before use is enough. Headers
//! that extend other headers are read here with a bound of their own: the tar crate would take any length into memory.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{PermissionsExt, symlink},
    },
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use fs_err as fs;
use tar::EntryType;

const MAX_PATH: usize = 4096;
const MAX_PAX: u64 = 256 * 1024;
const MAX_LINKS_FOLLOWED: usize = 40;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// How much an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of all kinds.
    pub entries: u64,
    /// Bytes of all files together, unpacked.
    pub bytes: u64,
}

/// What an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user's source: links that leave the root, absolute names, devices and paths through links are refused.
    Source,
    /// An image layer: links may point anywhere in the image but are never followed out of the root, whiteouts delete,
    /// devices are left out, set-user-id bits are dropped, times of files are kept, owners are not.
    Layer,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries of all kinds.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Devices and pipes that were left out.
    pub skipped: u64,
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// Reading the archive or writing the result failed.
    #[error("failed to unpack")]
    Io(#[from] io::Error),
    /// The archive is damaged.
    #[error("the archive is damaged")]
    Damaged(#[source] io::Error),
    /// An entry's name is absolute, climbs with `..` or is too long.
    #[error("entry `{0}` has a path that leaves the archive's root")]
    BadPath(String),
    /// A link points out of the root.
    #[error("link `{path}` leads out of the archive's root: {target}")]
    LinkLeaves {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// An entry would be written through a link.
    #[error("entry `{0}` would be written through a link")]
    ThroughLink(String),
    /// A device, pipe or an unknown kind of entry.
    #[error("entry `{0}` is neither a file, a folder nor a link")]
    Special(String),
    /// Too many entries.
    #[error("the archive has more than {0} entries")]
    TooMany(u64),
    /// Too many bytes.
    #[error("the archive unpacks to more than {0} bytes")]
    TooBig(u64),
    /// A header that extends another one is too long or nonsense.
    #[error("the archive has a header that is not supported: {0}")]
    Header(&'static str),
}

/// Unpacks one tar stream into `dest`, which must exist.
///
/// # Errors
/// See [`ExtractError`]; what was written before the error stays, so unpack into a folder that can be thrown away.
pub fn extract(reader: impl Read, dest: &Path, kind: Kind, limits: Limits) -> Result<Stats, ExtractError> {
    let mut archive = tar::Archive::new(reader);
    let mut extractor = Extractor { dest, kind, limits, stats: Stats::default(), written: HashSet::new() };
    let mut extensions = Extensions::default();
    for entry in archive.entries().map_err(ExtractError::Damaged)?.raw(true) {
        let mut entry = entry.map_err(ExtractError::Damaged)?;
        if !extensions.take(&mut entry)? {
            extractor.put(&mut entry, std::mem::take(&mut extensions))?;
        }
    }
    Ok(extractor.stats)
}

/// Names that arrived in headers of their own and belong to the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

struct Extractor<'a> {
    dest: &'a Path,
    kind: Kind,
    limits: Limits,
    stats: Stats,
    /// What this layer wrote: an opaque whiteout spares it, wherever in the layer it stands.
    written: HashSet<PathBuf>,
}

// === impl Extensions ===

impl Extensions {
    /// Takes the entry if it only extends the next one.
    fn take<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<bool, ExtractError> {
        match entry.header().entry_type() {
            EntryType::GNULongName => self.path = Some(read_name(entry)?),
            EntryType::GNULongLink => self.link = Some(read_name(entry)?),
            EntryType::XHeader => self.take_pax(entry)?,
            EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_pax<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), ExtractError> {
        let data = read_bounded(entry, MAX_PAX)?;
        for record in tar::PaxExtensions::new(&data) {
            let record = record.map_err(ExtractError::Damaged)?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => return Err(ExtractError::Header("a size in an extended header")),
                key if key.starts_with(b"GNU.sparse") => return Err(ExtractError::Header("a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_name<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, ExtractError> {
    let mut name = read_bounded(entry, 2 * MAX_PATH as u64)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn read_bounded<R: Read>(entry: &mut tar::Entry<'_, R>, limit: u64) -> Result<Vec<u8>, ExtractError> {
    if entry.size() > limit {
        return Err(ExtractError::Header("an extended header is too long"));
    }
    let mut data = Vec::new();
    entry.take(limit).read_to_end(&mut data).map_err(ExtractError::Damaged)?;
    Ok(data)
}

// === impl Extractor ===

impl Extractor<'_> {
    fn put<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        extensions: Extensions,
    ) -> Result<(), ExtractError> {
        self.stats.entries += 1;
        if self.stats.entries > self.limits.entries {
            return Err(ExtractError::TooMany(self.limits.entries));
        }
        let name = extensions.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = self.clean(&name)?;
        let Some(base) = path.file_name().map(OsStr::to_owned) else { return Ok(()) };
        let parent = self.parent(&path, &name)?;
        if self.kind == Kind::Layer && base.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&parent, &base, &name);
        }
        let target = parent.join(&base);
        self.remember(&target);
        match entry.header().entry_type() {
            EntryType::Directory => self.folder(&target, mode_of(entry)),
            EntryType::Regular | EntryType::Continuous => self.file(entry, &target),
            EntryType::Symlink => {
                let link = extensions.link.or_else(|| entry.link_name_bytes().map(|l| l.into_owned()));
                self.symlink(&path, &target, link.unwrap_or_default())
            }
            EntryType::Link => {
                let link = extensions.link.or_else(|| entry.link_name_bytes().map(|l| l.into_owned()));
                self.hard_link(&target, &link.unwrap_or_default(), &name)
            }
            EntryType::Block | EntryType::Char | EntryType::Fifo if self.kind == Kind::Layer => {
                self.stats.skipped += 1;
                Ok(())
            }
            _ => Err(ExtractError::Special(lossy(&name))),
        }
    }

    /// The entry's path as plain components. Leading `./` is fine; a leading `/` is fine in layers only.
    fn clean(&self, name: &[u8]) -> Result<PathBuf, ExtractError> {
        let bad = || ExtractError::BadPath(lossy(name));
        if name.is_empty() || name.len() > MAX_PATH || name.contains(&0) {
            return Err(bad());
        }
        let mut path = PathBuf::new();
        for component in Path::new(OsStr::from_bytes(name)).components() {
            match component {
                Component::Normal(part) if part.len() <= 255 => path.push(part),
                Component::CurDir => {}
                Component::RootDir if self.kind == Kind::Layer => {}
                _ => return Err(bad()),
            }
        }
        Ok(path)
    }

    /// The folder an entry goes into, made if it is missing. No component is a link out of the root.
    fn parent(&self, path: &Path, name: &[u8]) -> Result<PathBuf, ExtractError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let real = match self.kind {
            Kind::Source => plain(self.dest, parent).ok_or_else(|| ExtractError::ThroughLink(lossy(name)))?,
            Kind::Layer => {
                resolve(self.dest, parent)?.ok_or_else(|| ExtractError::ThroughLink(lossy(name)))?
            }
        };
        self.make_folders(&real)?;
        Ok(real)
    }

    /// Makes `real` (inside the root, without links) and what is missing above it.
    fn make_folders(&self, real: &Path) -> Result<(), ExtractError> {
        let below = real.strip_prefix(self.dest).unwrap_or(Path::new(""));
        let mut at = self.dest.to_owned();
        for part in below {
            at.push(part);
            match fs::symlink_metadata(&at) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    fs::remove_file(&at)?;
                    make_folder(&at, 0o755)?;
                }
                Err(_) => make_folder(&at, 0o755)?,
            }
        }
        Ok(())
    }

    fn folder(&self, target: &Path, mode: u32) -> Result<(), ExtractError> {
        let mode = if self.kind == Kind::Source { 0o755 } else { mode & 0o1777 | 0o700 };
        match fs::symlink_metadata(target) {
            Ok(meta) if meta.is_dir() => fs::set_permissions(target, PermissionsExt::from_mode(mode))?,
            Ok(_) => {
                fs::remove_file(target)?;
                make_folder(target, mode)?;
            }
            Err(_) => make_folder(target, mode)?,
        }
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, target: &Path) -> Result<(), ExtractError> {
        let mode = match (self.kind, mode_of(entry)) {
            (Kind::Source, mode) if mode & 0o111 != 0 => 0o755,
            (Kind::Source, _) => 0o644,
            (Kind::Layer, mode) => mode & 0o777 | 0o400,
        };
        let left = self.limits.bytes - self.stats.bytes;
        if entry.size() > left {
            return Err(ExtractError::TooBig(self.limits.bytes));
        }
        clear(target)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(target)?;
        let want = entry.size();
        let copied = copy(entry, &mut file)?;
        if copied != want {
            return Err(ExtractError::Damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        if let (Kind::Layer, Ok(seconds)) = (self.kind, entry.header().mtime()) {
            // Bytecode in images is valid for sources of exactly this time.
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            // A time that this disk cannot hold is no reason to refuse an image.
            let _ = file.file().set_modified(time.unwrap_or(SystemTime::UNIX_EPOCH));
        }
        self.stats.bytes += copied;
        Ok(())
    }

    fn symlink(&self, path: &Path, target: &Path, link: Vec<u8>) -> Result<(), ExtractError> {
        let leads_out =
            || ExtractError::LinkLeaves { path: path.display().to_string(), target: lossy(&link) };
        if link.is_empty() || link.len() > MAX_PATH || link.contains(&0) {
            return Err(leads_out());
        }
        let to = PathBuf::from(OsString::from_vec(link.clone()));
        if self.kind == Kind::Source && !stays(path, &to) {
            return Err(leads_out());
        }
        clear(target)?;
        symlink(&to, target)?;
        Ok(())
    }

    fn hard_link(&self, target: &Path, link: &[u8], name: &[u8]) -> Result<(), ExtractError> {
        let leads_out = || ExtractError::LinkLeaves { path: lossy(name), target: lossy(link) };
        let to = self.clean(link).map_err(|_| leads_out())?;
        let parent = to.parent().unwrap_or(Path::new(""));
        let parent = match self.kind {
            Kind::Source => plain(self.dest, parent),
            Kind::Layer => resolve(self.dest, parent)?,
        };
        let real = parent.ok_or_else(leads_out)?.join(to.file_name().ok_or_else(leads_out)?);
        let is_file = fs::symlink_metadata(&real).is_ok_and(|meta| meta.is_file());
        if !is_file {
            return Err(leads_out());
        }
        if real != target {
            clear(target)?;
            fs::hard_link(&real, target)?;
        }
        Ok(())
    }

    fn whiteout(&self, parent: &Path, base: &OsStr, name: &[u8]) -> Result<(), ExtractError> {
        let base = base.as_bytes();
        if base == OPAQUE {
            return self.opaque(parent);
        }
        let hidden = OsStr::from_bytes(&base[WHITEOUT.len()..]);
        let mut parts = Path::new(hidden).components();
        match (parts.next(), parts.next()) {
            // AUFS' own bookkeeping.
            (Some(Component::Normal(part)), None) if part.as_bytes().starts_with(WHITEOUT) => Ok(()),
            (Some(Component::Normal(part)), None) => {
                let target = parent.join(part);
                if !self.written.contains(&target) { clear(&target) } else { Ok(()) }
            }
            _ => Err(ExtractError::BadPath(lossy(name))),
        }
    }

    /// Removes everything in `folder` that earlier layers put there.
    fn opaque(&self, folder: &Path) -> Result<(), ExtractError> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if !self.written.contains(&path) {
                clear(&path)?;
            } else if fs::symlink_metadata(&path)?.is_dir() {
                self.opaque(&path)?;
            }
        }
        Ok(())
    }

    /// Notes what this layer wrote, with the folders above it.
    fn remember(&mut self, target: &Path) {
        if self.kind != Kind::Layer {
            return;
        }
        for path in target.ancestors().take_while(|p| *p != self.dest) {
            if !self.written.insert(path.to_owned()) {
                break;
            }
        }
    }
}

fn mode_of<R: Read>(entry: &tar::Entry<'_, R>) -> u32 {
    entry.header().mode().unwrap_or(0o644)
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(200)]).escape_debug().to_string()
}

/// Copies an entry's bytes; an error of the archive is told from one of the disk.
fn copy<R: Read>(entry: &mut tar::Entry<'_, R>, file: &mut fs::File) -> Result<u64, ExtractError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut copied = 0;
    loop {
        let read = entry.read(&mut buffer).map_err(ExtractError::Damaged)?;
        if read == 0 {
            return Ok(copied);
        }
        io::Write::write_all(file, &buffer[..read])?;
        copied += read as u64;
    }
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(mode))
}

/// Removes whatever is at `path`; a link is removed, not followed.
fn clear(path: &Path) -> Result<(), ExtractError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path)?,
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// `root` joined with `path`, or nothing when a component is something other than a folder.
fn plain(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut at = root.to_owned();
    for part in path {
        at.push(part);
        if fs::symlink_metadata(&at).is_ok_and(|meta| !meta.is_dir()) {
            return None;
        }
    }
    Some(at)
}

/// `root` joined with `path`, following links as a process with `root` as its root would.
/// Nothing when links go round in circles.
fn resolve(root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let mut waiting: Vec<OsString> = path.iter().rev().map(OsStr::to_owned).collect();
    let mut inside = PathBuf::new();
    let mut followed = 0;
    while let Some(part) = waiting.pop() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(_)) => {}
            Some(Component::ParentDir) => {
                inside.pop();
                continue;
            }
            Some(Component::RootDir) => {
                inside = PathBuf::new();
                continue;
            }
            _ => continue,
        }
        let at = root.join(&inside).join(&part);
        if fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_symlink()) {
            followed += 1;
            if followed > MAX_LINKS_FOLLOWED {
                return Ok(None);
            }
            waiting.extend(fs::read_link(&at)?.iter().rev().map(OsStr::to_owned));
        } else {
            inside.push(part);
        }
    }
    Ok(Some(root.join(inside)))
}

/// Whether a link at `path` to `to` stays inside the root.
///
/// `..` may only stand at the front: there it starts from real folders. Behind a name it could start from wherever
/// another link leads.
fn stays(path: &Path, to: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut named = false;
    for component in to.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 && !named => depth -= 1,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
