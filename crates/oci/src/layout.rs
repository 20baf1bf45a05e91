//! An OCI layout directory: `oci-layout`, `index.json` and `blobs/sha256/…`.
//!
//! Blobs and the index appear by rename, so a reader never sees half of one.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde_json::{Map, json};

use crate::{
    digest::{Digest, DigestWriter},
    manifest::{self, Descriptor, Index},
    media_type,
};

/// The annotation of a tag in `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MAX_INDEX: u64 = 16 << 20;

/// A layout directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// Why a layout could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The disk failed.
    #[error("failed to read or write the layout")]
    Io(#[from] io::Error),
    /// `index.json` or a manifest is not what it should be.
    #[error("`{path}` is not valid")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The content has another digest than its name says.
    #[error("blob {want} has digest {got}")]
    Digest {
        /// What was asked for.
        want: Digest,
        /// What the bytes are.
        got: Digest,
    },
    /// A blob that is too large to be read into memory.
    #[error("blob {0} is too large to be a manifest or a config")]
    TooLarge(Digest),
}

// === impl Layout ===

impl Layout {
    /// Opens `root`, making it a layout if it is none yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { root: root.into() };
        fs::create_dir_all(layout.root.join("blobs/sha256"))?;
        if !layout.root.join("oci-layout").exists() {
            layout
                .write_atomic("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
        }
        if !layout.index_path().exists() {
            layout.write_index(&empty_index())?;
        }
        Ok(layout)
    }

    /// Where the blob of `digest` is, whether it is there or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Stores what `reader` gives and returns digest and length.
    ///
    /// # Errors
    /// When reading or writing fails, or the digest is not the `expected` one.
    pub fn put_blob(
        &self,
        mut reader: impl Read,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64), LayoutError> {
        let temporary = tempfile::NamedTempFile::new_in(&self.root)?;
        let mut writer = DigestWriter::new(temporary);
        io::copy(&mut reader, &mut writer)?;
        let (temporary, digest, size) = writer.finish();
        if let Some(want) = expected.filter(|want| **want != digest) {
            return Err(LayoutError::Digest { want: want.clone(), got: digest });
        }
        temporary.as_file().sync_all()?;
        temporary.persist(self.blob_path(&digest)).map_err(|error| error.error)?;
        Ok((digest, size))
    }

    /// Reads a blob that must be small, such as a manifest.
    ///
    /// # Errors
    /// When it is missing, larger than `limit` or damaged.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        fs::File::open(self.blob_path(digest))?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(LayoutError::TooLarge(digest.clone()));
        }
        let got = Digest::of(&bytes);
        if got != *digest {
            return Err(LayoutError::Digest { want: digest.clone(), got });
        }
        Ok(bytes)
    }

    /// The index.
    ///
    /// # Errors
    /// When `index.json` cannot be read or is not an index.
    pub fn index(&self) -> Result<Index, LayoutError> {
        let path = self.index_path();
        let mut text = Vec::new();
        fs::File::open(&path)?.take(MAX_INDEX).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(|source| LayoutError::Json { path, source })
    }

    /// Names a manifest; an earlier one of that name loses it.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written.
    pub fn tag(&self, name: &str, mut manifest: Descriptor) -> Result<(), LayoutError> {
        let mut index = self.index()?;
        index.manifests.retain(|d| d.annotations.get(REF_NAME).is_none_or(|have| have != name));
        manifest.annotations.insert(REF_NAME.into(), name.into());
        index.manifests.push(manifest);
        self.write_index(&index)
    }

    /// The manifest of that name.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub fn resolve(&self, name: &str) -> Result<Option<Descriptor>, LayoutError> {
        let named = |d: &Descriptor| d.annotations.get(REF_NAME).is_some_and(|have| have == name);
        Ok(self.index()?.manifests.into_iter().find(named))
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn write_index(&self, index: &Index) -> Result<(), LayoutError> {
        let path = self.index_path();
        let bytes = manifest::to_bytes(index).map_err(|source| LayoutError::Json { path, source })?;
        Ok(self.write_atomic("index.json", &bytes)?)
    }

    fn write_atomic(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        write_atomic(&self.root.join(name), bytes)
    }
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.into()),
        manifests: Vec::new(),
        annotations: Default::default(),
        other: Map::new(),
    }
}

/// Writes a file that appears whole or not at all, and is on disk when this returns.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(parent)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_move_and_blobs_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let (digest, size) = layout.put_blob(&b"{}"[..], None).unwrap();
        let descriptor = Descriptor::new(media_type::MANIFEST, digest.clone(), size);
        layout.tag("v1", descriptor.clone()).unwrap();
        layout.tag("v1", descriptor).unwrap();
        let again = Layout::create(dir.path()).unwrap();
        assert_eq!(again.index().unwrap().manifests.len(), 1);
        assert_eq!(again.resolve("v1").unwrap().unwrap().digest, digest);
        assert!(again.resolve("v2").unwrap().is_none());
        assert!(matches!(layout.read_blob(&digest, 1), Err(LayoutError::TooLarge(_))));
        fs::write(layout.blob_path(&digest), "[]").unwrap();
        assert!(matches!(layout.read_blob(&digest, 10), Err(LayoutError::Digest { .. })));
        assert!(matches!(layout.put_blob(&b"x"[..], Some(&digest)), Err(LayoutError::Digest { .. })));
    }
}
