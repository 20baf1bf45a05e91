//! What the registry keeps on disk, and the engine's own way to it.
//!
//! ```text
//! blobs/sha256/HEX                       every blob, manifests among them
//! repositories/NAME/_manifests/HEX       its media type: the manifest belongs to the repository
//! repositories/NAME/_tags/TAG            the digest it points at
//! uploads/ID                             unfinished; emptied at start
//! ```
//!
//! A name's components never begin with `_`. Files appear by rename after `fsync`, so what was acknowledged survives and
//! nothing is ever half there. Calls block on the disk; from async code use `spawn_blocking`.

use std::{
    collections::HashSet,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use fs_err as fs;
use tm_oci::{
    Digest, Reference, layout,
    manifest::{self, Descriptor, ImageConfig, Index, Manifest, Platform},
    media_type,
};

use super::uploads::Uploads;

/// Manifests larger than this are refused, as most registries do.
pub(super) const MAX_MANIFEST: usize = 4 << 20;
const MAX_CONFIG: u64 = 8 << 20;

/// The registry's folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    uploads: Uploads,
    /// Held for reading while a manifest is checked and written, for writing while garbage is collected.
    collecting: RwLock<()>,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why something cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk failed.
    #[error("failed to read or write the registry's folder")]
    Io(#[from] io::Error),
    /// No such blob.
    #[error("there is no blob {0}")]
    BlobUnknown(Digest),
    /// No such manifest.
    #[error("there is no manifest {0}")]
    ManifestUnknown(String),
    /// A manifest names a blob that is not here.
    #[error("the manifest names {0}, which is not here")]
    MissingBlob(Digest),
    /// A manifest or config is not valid.
    #[error("the manifest is not valid: {0}")]
    Manifest(String),
    /// An index has no image for this machine.
    #[error("the index has no image for this machine")]
    NoPlatform,
    /// The bytes have another digest.
    #[error("the bytes have digest {got}, not {want}")]
    Digest {
        /// What was said.
        want: Digest,
        /// What it is.
        got: Digest,
    },
    /// A manifest uses the blob.
    #[error("blob {0} is used by a manifest")]
    InUse(Digest),
}

// === impl Storage ===

impl Storage {
    /// Opens or makes the folder. Unfinished uploads of a former life are removed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let root = root.into();
        for folder in ["blobs/sha256", "repositories"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let (marker, version) = (root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        if !says(&marker, version) {
            layout::write_atomic(&marker, version)?;
        }
        let uploads = Uploads::open(root.join("uploads"))?;
        let storage = Self { inner: Arc::new(Inner { root, uploads, collecting: RwLock::default() }) };
        storage.put_host_image()?;
        Ok(storage)
    }

    /// The manifest or index that a reference means, if it is here. The reference's registry does not matter.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Digest>, StorageError> {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Ok(self.media_type(reference.repository(), digest)?.map(|_| digest.clone())),
            (None, tag) => self.tag(reference.repository(), tag.unwrap_or("latest")),
        }
    }

    /// Manifest and config of the image that a reference means on this machine, and the manifest's digest.
    ///
    /// # Errors
    /// When it is not here, not for this machine or damaged.
    pub fn image(&self, reference: &Reference) -> Result<(Digest, Manifest, ImageConfig), StorageError> {
        let unknown = || StorageError::ManifestUnknown(reference.to_string());
        let mut digest = self.resolve(reference)?.ok_or_else(unknown)?;
        let mut bytes = self.small(&digest, MAX_MANIFEST as u64)?;
        let media_type = self.media_type(reference.repository(), &digest)?.ok_or_else(unknown)?;
        if media_type::is_index(&media_type) {
            let index: Index = json(&bytes)?;
            let chosen = index.select(&Platform::host()).ok_or(StorageError::NoPlatform)?;
            digest = chosen.digest.clone();
            bytes = self.small(&digest, MAX_MANIFEST as u64)?;
        }
        let manifest: Manifest = json(&bytes)?;
        let config = json(&self.small(&manifest.config.digest, MAX_CONFIG)?)?;
        Ok((digest, manifest, config))
    }

    /// Opens a blob, such as a layer, for reading.
    ///
    /// # Errors
    /// When it is not here.
    pub fn open_blob(&self, digest: &Digest) -> Result<std::fs::File, StorageError> {
        match std::fs::File::open(self.blob_path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StorageError::BlobUnknown(digest.clone()))
            }
            file => Ok(file?),
        }
    }

    /// Length of a blob, if it is here. Being asked for keeps a blob from being collected for a while.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn touch_blob(&self, digest: &Digest) -> Result<Option<u64>, StorageError> {
        let _held = self.inner.collecting.read().unwrap_or_else(PoisonError::into_inner);
        let file = match fs::OpenOptions::new().write(true).open(self.blob_path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        file.file().set_modified(SystemTime::now())?;
        Ok(Some(file.metadata()?.len()))
    }

    /// Type and bytes of a manifest of a repository, by digest.
    ///
    /// # Errors
    /// When the repository does not have it.
    pub fn manifest(&self, name: &str, digest: &Digest) -> Result<(String, Vec<u8>), StorageError> {
        let media_type = self
            .media_type(name, digest)?
            .ok_or_else(|| StorageError::ManifestUnknown(digest.to_string()))?;
        Ok((media_type, self.small(digest, MAX_MANIFEST as u64)?))
    }

    /// What a tag points at.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn tag(&self, name: &str, tag: &str) -> Result<Option<Digest>, StorageError> {
        let text = read_optional(&self.tags_folder(name).join(tag))?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    /// Stores a manifest or index and points `tag` at it. Everything it names must be here.
    ///
    /// # Errors
    /// When it is not a manifest, names what is missing, or the disk fails.
    pub fn put_manifest(
        &self,
        name: &str,
        tag: Option<&str>,
        declared: Option<&str>,
        bytes: &[u8],
    ) -> Result<Digest, StorageError> {
        let _held = self.inner.collecting.read().unwrap_or_else(PoisonError::into_inner);
        let media_type = self.check_manifest(declared, bytes)?;
        let digest = Digest::of(bytes);
        let folder = self.repository(name).join("_manifests");
        make_folders(&folder)?;
        layout::write_atomic(&self.blob_path(&digest), bytes)?;
        layout::write_atomic(&folder.join(digest.hex()), media_type.as_bytes())?;
        if let Some(tag) = tag {
            let tags = self.tags_folder(name);
            make_folders(&tags)?;
            layout::write_atomic(&tags.join(tag), digest.as_str().as_bytes())?;
        }
        Ok(digest)
    }

    /// Removes a manifest and the tags that point at it from a repository; its blobs stay until they are collected.
    ///
    /// # Errors
    /// When the repository does not have it.
    pub fn delete_manifest(&self, name: &str, digest: &Digest) -> Result<(), StorageError> {
        for tag in self.tags(name)?.unwrap_or_default() {
            if self.tag(name, &tag)?.as_ref() == Some(digest) {
                fs::remove_file(self.tags_folder(name).join(tag))?;
            }
        }
        remove(&self.repository(name).join("_manifests").join(digest.hex()))
            .map_err(|error| missing(error, || StorageError::ManifestUnknown(digest.to_string())))
    }

    /// Removes a tag.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn delete_tag(&self, name: &str, tag: &str) -> Result<(), StorageError> {
        remove(&self.tags_folder(name).join(tag))
            .map_err(|error| missing(error, || StorageError::ManifestUnknown(tag.to_owned())))
    }

    /// Removes a blob that no manifest uses.
    ///
    /// # Errors
    /// When a manifest uses it or it is not here.
    pub fn delete_blob(&self, digest: &Digest) -> Result<(), StorageError> {
        let _held = self.inner.collecting.write().unwrap_or_else(PoisonError::into_inner);
        if self.used()?.contains(digest) {
            return Err(StorageError::InUse(digest.clone()));
        }
        remove(&self.blob_path(digest))
            .map_err(|error| missing(error, || StorageError::BlobUnknown(digest.clone())))
    }

    /// Tags of a repository, sorted; nothing when there is no such repository.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn tags(&self, name: &str) -> Result<Option<Vec<String>>, StorageError> {
        if !self.repository(name).join("_manifests").is_dir() {
            return Ok(None);
        }
        let mut tags = names_in(&self.tags_folder(name))?;
        tags.retain(|tag| tm_oci::reference::is_tag(tag));
        Ok(Some(tags))
    }

    /// Names of all repositories, sorted.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn repositories(&self) -> Result<Vec<String>, StorageError> {
        let mut found = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(name) = waiting.pop() {
            for part in names_in(&self.repository(&name))? {
                if part == "_manifests" {
                    found.push(name.clone());
                } else if !part.starts_with('_') {
                    waiting.push(if name.is_empty() { part } else { format!("{name}/{part}") });
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes manifests that have no tag and are not in `keep`, and blobs that no manifest uses, when neither was
    /// written or asked for within `grace`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn collect(&self, keep: &HashSet<Digest>, grace: Duration) -> Result<Collected, StorageError> {
        let _held = self.inner.collecting.write().unwrap_or_else(PoisonError::into_inner);
        let horizon = SystemTime::now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        for name in self.repositories()? {
            self.forget_manifests(&name, keep, horizon)?;
        }
        let mut collected = Collected::default();
        let used = self.used()?;
        for hex in names_in(&self.inner.root.join("blobs/sha256"))? {
            let path = self.inner.root.join("blobs/sha256").join(&hex);
            let meta = fs::metadata(&path)?;
            let known = format!("sha256:{hex}").parse().is_ok_and(|digest: Digest| used.contains(&digest));
            if !known && meta.modified()? <= horizon {
                fs::remove_file(&path)?;
                collected.blobs += 1;
                collected.bytes += meta.len();
            }
        }
        Ok(collected)
    }

    /// Where the blob of `digest` is, whether it is here or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn uploads(&self) -> &Uploads {
        &self.inner.uploads
    }

    fn forget_manifests(
        &self,
        name: &str,
        keep: &HashSet<Digest>,
        horizon: SystemTime,
    ) -> Result<(), StorageError> {
        let mut wanted = HashSet::new();
        for tag in self.tags(name)?.unwrap_or_default() {
            wanted.extend(self.tag(name, &tag)?);
        }
        let all: Vec<Digest> = self.manifests_of(name)?;
        wanted.extend(all.iter().filter(|digest| keep.contains(*digest)).cloned());
        // What a wanted index names is wanted too.
        for digest in wanted.clone() {
            wanted.extend(self.named_by(&digest)?);
        }
        let folder = self.repository(name).join("_manifests");
        for digest in all.iter().filter(|digest| !wanted.contains(*digest)) {
            let path = folder.join(digest.hex());
            if fs::metadata(&path)?.modified()? <= horizon {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Every blob that some manifest of some repository is or names.
    fn used(&self) -> Result<HashSet<Digest>, StorageError> {
        let mut used = HashSet::new();
        for name in self.repositories()? {
            for digest in self.manifests_of(&name)? {
                if used.insert(digest.clone()) {
                    used.extend(self.named_by(&digest)?);
                }
            }
        }
        Ok(used)
    }

    fn manifests_of(&self, name: &str) -> Result<Vec<Digest>, StorageError> {
        let names = names_in(&self.repository(name).join("_manifests"))?;
        Ok(names.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
    }

    fn named_by(&self, digest: &Digest) -> Result<Vec<Digest>, StorageError> {
        match self.small(digest, MAX_MANIFEST as u64) {
            Ok(bytes) => Ok(references(&bytes)?.into_iter().map(|(d, _)| d.digest).collect()),
            Err(StorageError::BlobUnknown(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The manifest's type, if it is well formed and everything it names is here.
    fn check_manifest(&self, declared: Option<&str>, bytes: &[u8]) -> Result<String, StorageError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            schema_version: u32,
            #[serde(default)]
            media_type: Option<String>,
        }
        let typed: Typed = json(bytes)?;
        if typed.schema_version != 2 {
            return Err(StorageError::Manifest("its schemaVersion is not 2".into()));
        }
        let declared = declared.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
        let media_type = match (typed.media_type, declared) {
            (Some(inside), Some(outside)) if inside != outside => {
                return Err(StorageError::Manifest(format!(
                    "it says {inside} and Content-Type says {outside}"
                )));
            }
            (inside, outside) => inside.or(outside).unwrap_or_else(|| media_type::MANIFEST.into()),
        };
        for (descriptor, elsewhere) in references(bytes)? {
            if !elsewhere && !self.blob_path(&descriptor.digest).is_file() {
                return Err(StorageError::MissingBlob(descriptor.digest));
            }
        }
        Ok(media_type)
    }

    fn media_type(&self, name: &str, digest: &Digest) -> Result<Option<String>, StorageError> {
        read_optional(&self.repository(name).join("_manifests").join(digest.hex()))
    }

    fn small(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(StorageError::Manifest(format!("{digest} has more than {limit} bytes")));
        }
        let got = Digest::of(&bytes);
        if got != *digest {
            return Err(StorageError::Digest { want: digest.clone(), got });
        }
        Ok(bytes)
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.inner.root.join("repositories").join(name)
    }

    fn tags_folder(&self, name: &str) -> PathBuf {
        self.repository(name).join("_tags")
    }

    /// `tm.local/host`, the base "this machine".
    fn put_host_image(&self) -> Result<(), StorageError> {
        let invalid = |error: serde_json::Error| StorageError::Manifest(error.to_string());
        let (image, _, config) = manifest::host_image().map_err(invalid)?;
        let bytes = manifest::to_bytes(&image).map_err(invalid)?;
        let (config_digest, digest) = (Digest::of(&config), Digest::of(&bytes));
        let blobs = says(&self.blob_path(&config_digest), &config) && says(&self.blob_path(&digest), &bytes);
        // Nothing to be written is nothing to wait for: each file costs two syncs at the engine's start.
        if blobs && self.media_type("host", &digest)?.is_some() && self.tag("host", "latest")? == Some(digest)
        {
            return Ok(());
        }
        layout::write_atomic(&self.blob_path(&config_digest), &config)?;
        self.put_manifest("host", Some("latest"), None, &bytes)?;
        Ok(())
    }
}

/// Whether a file is there and holds just that.
fn says(path: &Path, bytes: &[u8]) -> bool {
    fs::read(path).is_ok_and(|old| old == bytes)
}

/// Everything a manifest or an index names, and whether it is kept elsewhere (foreign layers have URLs).
fn references(bytes: &[u8]) -> Result<Vec<(Descriptor, bool)>, StorageError> {
    #[derive(serde::Deserialize)]
    struct Any {
        #[serde(default)]
        config: Option<Descriptor>,
        #[serde(default)]
        layers: Vec<Descriptor>,
        #[serde(default)]
        manifests: Vec<Descriptor>,
    }
    let any: Any = json(bytes)?;
    let all = any.config.into_iter().chain(any.layers).chain(any.manifests);
    Ok(all.map(|d| (d.other.contains_key("urls"), d)).map(|(elsewhere, d)| (d, elsewhere)).collect())
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, StorageError> {
    serde_json::from_slice(bytes).map_err(|error| StorageError::Manifest(error.to_string()))
}

fn read_optional(path: &Path) -> Result<Option<String>, StorageError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Names in a folder, sorted; none when there is no such folder.
fn names_in(folder: &Path) -> Result<Vec<String>, StorageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Anything else is not ours: we write ASCII names only.
        names.extend(entry?.file_name().into_string().ok().filter(|name| !name.starts_with(".tmp")));
    }
    names.sort();
    Ok(names)
}

/// Makes folders so that they are still there after a power cut.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    folder.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

fn missing(error: io::Error, unknown: impl FnOnce() -> StorageError) -> StorageError {
    if error.kind() == io::ErrorKind::NotFound { unknown() } else { error.into() }
}
