//! An image's layers into a folder, with whiteouts, each blob checked against its digest while it is read.
//!
//! The engine calls this once per manifest digest and shares the result between all functions of that image.

use std::{
    io::{self, Read},
    path::Path,
};

use fs_err as fs;

use crate::{
    digest::{Digest, DigestReader},
    extract::{ExtractError, Kind, Limits, Stats, extract},
    manifest::Descriptor,
    media_type,
};

/// What one layer may unpack to. Images of several GB exist; the disk is the real bound.
pub const LAYER_LIMITS: Limits = Limits { entries: 2_000_000, bytes: 64 << 30 };

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive was refused or the disk failed.
    #[error("failed to unpack layer {digest}")]
    Layer {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: ExtractError,
    },
    /// The bytes are not what the manifest says.
    #[error("layer {want} is damaged: its bytes have digest {got}")]
    Damaged {
        /// What the manifest says.
        want: Digest,
        /// What the bytes are.
        got: Digest,
    },
    /// A compression this crate does not know.
    #[error("layer {digest} has type {media_type}, which is not supported")]
    MediaType {
        /// The layer.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
}

/// Applies one layer on top of what is in `dest`, which must exist.
///
/// # Errors
/// See [`UnpackError`]; `dest` is then in between two layers and must be thrown away.
pub fn unpack_layer(layer: &Descriptor, blob: impl Read, dest: &Path) -> Result<Stats, UnpackError> {
    let mut blob = DigestReader::new(io::BufReader::with_capacity(128 * 1024, blob));
    let failed = |source| UnpackError::Layer { digest: layer.digest.clone(), source };
    let stats = match media_type::to_oci(&layer.media_type) {
        media_type::LAYER => extract(&mut blob, dest, Kind::Layer, LAYER_LIMITS),
        media_type::LAYER_GZIP => {
            extract(flate2::read::MultiGzDecoder::new(&mut blob), dest, Kind::Layer, LAYER_LIMITS)
        }
        other => {
            let (digest, media_type) = (layer.digest.clone(), other.to_owned());
            return Err(UnpackError::MediaType { digest, media_type });
        }
    };
    // Damage shows first as an archive error; the digest says it better, so it is asked first.
    let rest = io::copy(&mut blob, &mut io::sink());
    let (_, got, _) = blob.finish();
    if got != layer.digest {
        return Err(UnpackError::Damaged { want: layer.digest.clone(), got });
    }
    rest.map_err(|error| failed(error.into()))?;
    stats.map_err(failed)
}

/// Unpacks layers, bottom first, into `dest`, which appears only when everything is there.
///
/// `open` gives the bytes of a layer. A `dest` that exists already is left alone: it is complete.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack_image<R: Read>(
    layers: &[Descriptor],
    mut open: impl FnMut(&Descriptor) -> io::Result<R>,
    dest: &Path,
) -> Result<Stats, UnpackError> {
    let mut total = Stats::default();
    if dest.is_dir() {
        return Ok(total);
    }
    let digest = || layers.first().map_or_else(|| Digest::of(b""), |layer| layer.digest.clone());
    let io_failed = |error: io::Error| UnpackError::Layer { digest: digest(), source: error.into() };
    let parent = dest.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io_failed)?;
    let staging = tempfile::Builder::new().prefix(".unpack-").tempdir_in(parent).map_err(io_failed)?;
    for layer in layers {
        let blob = open(layer)
            .map_err(|error| UnpackError::Layer { digest: layer.digest.clone(), source: error.into() })?;
        let stats = unpack_layer(layer, blob, staging.path())?;
        total.entries += stats.entries;
        total.bytes += stats.bytes;
        total.skipped += stats.skipped;
    }
    publish(staging, dest).map_err(io_failed)?;
    Ok(total)
}

/// Moves the finished folder to its name. Somebody else may have been quicker with the same content.
fn publish(staging: tempfile::TempDir, dest: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(staging.path(), PermissionsExt::from_mode(0o755))?;
    match fs::rename(staging.path(), dest) {
        Ok(()) => {
            let _moved = staging.keep();
            Ok(())
        }
        Err(_) if dest.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::LayerBuilder;

    fn layer(files: &[(&str, &str)]) -> (Descriptor, Vec<u8>) {
        let mut builder = LayerBuilder::new();
        for (path, text) in files {
            builder.add_bytes(path, text.as_bytes().to_vec(), false).unwrap();
        }
        let mut bytes = Vec::new();
        let blob = builder.write_blob(&mut bytes).unwrap();
        (blob.descriptor, bytes)
    }

    #[test]
    fn layers_stack() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("image");
        let layers = [layer(&[("a", "1"), ("b", "1")]), layer(&[("a", "2"), (".wh.b", "")])];
        let descriptors: Vec<_> = layers.iter().map(|(d, _)| d.clone()).collect();
        let open = |d: &Descriptor| {
            Ok(layers.iter().find(|(have, _)| have.digest == d.digest).unwrap().1.as_slice())
        };
        unpack_image(&descriptors, open, &dest).unwrap();
        assert_eq!(fs::read_to_string(dest.join("a")).unwrap(), "2");
        assert!(!dest.join("b").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no staging folder stays");
    }

    #[test]
    fn damage_is_named_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("image");
        let (descriptor, mut bytes) = layer(&[("a", "1")]);
        let last = bytes.len() - 9;
        bytes[last] ^= 1;
        let error =
            unpack_image(std::slice::from_ref(&descriptor), |_| Ok(bytes.as_slice()), &dest).unwrap_err();
        assert!(matches!(error, UnpackError::Damaged { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_image_without_layers_is_an_empty_folder() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("image");
        unpack_image(&[], |_| Ok(io::empty()), &dest).unwrap();
        assert!(dest.is_dir());
    }
}
