//! Our layers: what is in them, and which blobs they become.
//!
//! The digest of a blob follows from the digest of its tar, so the cache remembers pairs of them. For the shim, a large
//! file that hardly ever changes, it also remembers the tar's digest by the file's identity and times.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tm_oci::{
    Digest,
    layer::{LayerBlob, LayerBuilder, LayerError},
    manifest::Descriptor,
    media_type,
};

use crate::{
    cache::{self, Cache},
    error::Failure,
};

/// Where the shim goes in an image.
const SHIM_PATH: &str = "usr/local/bin/runtime-shim";
/// Bump when layers of the same content get other bytes.
const FORMAT: &[u8] = b"layer-1";
const KIND: &str = "layer-digests";

/// A layer to be: known by its tar, perhaps by its blob.
pub(super) struct Layer {
    pub(super) name: String,
    builder: LayerBuilder,
    cache: Cache,
    known: Known,
}

/// What is known of a layer before it is compressed.
enum Known {
    Tar(Digest),
    Blob(Remembered),
}

/// What the cache remembers of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Remembered {
    diff_id: Digest,
    digest: Digest,
    size: u64,
}

/// The layers of an image, the shim first. Empty ones are left out.
pub(super) async fn plan(
    trees: Vec<(String, PathBuf)>,
    shim: PathBuf,
    cache: Cache,
) -> Result<Vec<Layer>, Failure> {
    let plan = move || {
        let mut layers = vec![of_shim(&shim, &cache)?];
        for (name, dir) in trees {
            layers.extend(of_tree(&name, &dir, &cache)?);
        }
        Ok(layers)
    };
    tokio::task::spawn_blocking(plan)
        .await
        .map_err(|error| Failure::new("failed to plan the layers", error))?
}

fn of_shim(shim: &Path, cache: &Cache) -> Result<Layer, Failure> {
    let failed = |error| Failure::new("failed to read the shim", error);
    let mut builder = LayerBuilder::new();
    builder.add_file(SHIM_PATH, shim, true).map_err(|error| layer_failed("shim", error))?;
    let identity = identity(shim).map_err(failed)?;
    let remembered = cache.get_text(KIND, &identity).and_then(|text| serde_json::from_str(&text).ok());
    let known = match remembered {
        Some(remembered) => Known::Blob(remembered),
        None => {
            let known = by_tar("shim", &builder, cache)?;
            if let Known::Blob(remembered) = &known {
                remember(cache, &identity, remembered);
            }
            known
        }
    };
    Ok(Layer { name: "shim".into(), builder, cache: cache.clone(), known })
}

fn of_tree(name: &str, dir: &Path, cache: &Cache) -> Result<Option<Layer>, Failure> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let mut builder = LayerBuilder::new();
    builder.add_tree(dir).map_err(|error| layer_failed(name, error))?;
    if builder.is_empty() {
        return Ok(None);
    }
    let known = by_tar(name, &builder, cache)?;
    Ok(Some(Layer { name: name.to_owned(), builder, cache: cache.clone(), known }))
}

fn by_tar(name: &str, builder: &LayerBuilder, cache: &Cache) -> Result<Known, Failure> {
    let (diff_id, _) = builder.diff_id().map_err(|error| layer_failed(name, error))?;
    let text = cache.get_text(KIND, &tar_key(&diff_id));
    let remembered: Option<Remembered> = text.and_then(|text| serde_json::from_str(&text).ok());
    Ok(match remembered.filter(|remembered| remembered.diff_id == diff_id) {
        Some(remembered) => Known::Blob(remembered),
        None => Known::Tar(diff_id),
    })
}

fn layer_failed(name: &str, error: LayerError) -> Failure {
    Failure::new(format!("failed to make layer `{name}`"), error)
}

fn tar_key(diff_id: &Digest) -> Digest {
    cache::key(&[FORMAT, diff_id.as_str().as_bytes()])
}

/// What changes whenever the file is another one.
fn identity(path: &Path) -> std::io::Result<Digest> {
    let real = fs::canonicalize(path)?;
    let meta = fs::metadata(&real)?;
    let numbers = [
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime().cast_unsigned(),
        meta.mtime_nsec().cast_unsigned(),
        meta.ctime().cast_unsigned(),
        meta.ctime_nsec().cast_unsigned(),
    ];
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(cache::key(&[FORMAT, real.as_os_str().as_encoded_bytes(), &numbers]))
}

fn remember(cache: &Cache, key: &Digest, remembered: &Remembered) {
    if let Ok(text) = serde_json::to_string(remembered) {
        cache.put_text(KIND, key, &text);
    }
}

// === impl Layer ===

impl Layer {
    /// Digest of the uncompressed tar.
    pub(super) fn diff_id(&self) -> &Digest {
        match &self.known {
            Known::Tar(diff_id) => diff_id,
            Known::Blob(remembered) => &remembered.diff_id,
        }
    }

    /// The blob, if it is known without compressing.
    pub(super) fn blob(&self) -> Option<Descriptor> {
        match &self.known {
            Known::Tar(_) => None,
            Known::Blob(known) => {
                Some(Descriptor::new(media_type::LAYER_GZIP, known.digest.clone(), known.size))
            }
        }
    }

    /// Compresses into a temporary file, and remembers the result.
    pub(super) fn compress(&self) -> Result<(LayerBlob, tempfile::TempPath), Failure> {
        let failed = |error| Failure::new("failed to write a layer", error);
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        let blob =
            self.builder.write_blob(file.as_file_mut()).map_err(|error| layer_failed(&self.name, error))?;
        if blob.diff_id != *self.diff_id() {
            return Err(Failure::because(format!("layer `{}` changed while it was read", self.name)));
        }
        let (diff_id, digest) = (blob.diff_id.clone(), blob.descriptor.digest.clone());
        let remembered = Remembered { diff_id, digest, size: blob.descriptor.size };
        remember(&self.cache, &tar_key(&remembered.diff_id), &remembered);
        Ok((blob, file.into_temp_path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_another_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim");
        fs::write(&path, "one").unwrap();
        let one = identity(&path).unwrap();
        assert_eq!(one, identity(&path).unwrap());
        fs::write(&path, "four").unwrap();
        assert_ne!(one, identity(&path).unwrap());
    }

    #[tokio::test]
    async fn empty_layers_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let shim = dir.path().join("shim");
        fs::write(&shim, "shim").unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        let trees =
            vec![("empty".into(), dir.path().join("empty")), ("missing".into(), dir.path().join("missing"))];
        let layers = plan(trees, shim, Cache::default()).await.unwrap();
        assert_eq!(layers.iter().map(|layer| layer.name.as_str()).collect::<Vec<_>>(), ["shim"]);
    }
}
