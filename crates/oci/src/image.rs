//! An image made from nothing: layers and a config become blobs in temporary files, which go to a registry or into an
//! archive.
//!
//! `tm setup` makes the builder and the base image with it. Same layers, same config, same digest.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use bytes::Bytes;
use serde_json::json;

use crate::{
    digest::{Digest, DigestWriter},
    layer::{LayerBlob, LayerBuilder, LayerError},
    layout::REF_NAME,
    manifest::{self, Descriptor, EPOCH, History, ImageConfig, Index, Manifest, RunConfig},
    media_type,
    reference::Reference,
    registry::{Access, Client, Content, Progress, RegistryError},
};

/// Annotation under which containerd imports an image, with its whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A finished image for the platform this program was built for.
#[derive(Debug)]
pub struct Image {
    layers: Vec<Layer>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    digest: Digest,
}

#[derive(Debug)]
struct Layer {
    blob: LayerBlob,
    file: tempfile::TempPath,
}

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// One of its layers.
    #[error("failed to make layer `{name}`")]
    Layer {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// No room for the blobs.
    #[error("failed to write a layer to a temporary file")]
    Io(#[from] io::Error),
    /// The config cannot be written.
    #[error("failed to write the image's JSON")]
    Json(#[from] serde_json::Error),
}

// === impl Image ===

impl Image {
    /// Compresses the layers (named for the history, bottom first) and writes config and manifest. Blocks.
    ///
    /// # Errors
    /// When a layer's source cannot be read or the temporary folder is full.
    pub fn build(
        run: RunConfig,
        layers: impl IntoIterator<Item = (String, LayerBuilder)>,
    ) -> Result<Self, ImageError> {
        Self::build_with(run, layers, compress)
    }

    /// The same with layers as plain tars: for images that do not leave the machine, where compressing is only work.
    ///
    /// # Errors
    /// As [`Image::build`].
    pub fn build_plain(
        run: RunConfig,
        layers: impl IntoIterator<Item = (String, LayerBuilder)>,
    ) -> Result<Self, ImageError> {
        Self::build_with(run, layers, plain)
    }

    fn build_with(
        run: RunConfig,
        layers: impl IntoIterator<Item = (String, LayerBuilder)>,
        write: fn(&LayerBuilder, &mut File) -> Result<LayerBlob, LayerError>,
    ) -> Result<Self, ImageError> {
        let mut config = ImageConfig::of_host(run);
        let mut built = Vec::new();
        for (name, builder) in layers {
            let layer = to_file(&name, &builder, write)?;
            config.rootfs.diff_ids.push(layer.blob.diff_id.clone());
            config.history.push(History {
                created: Some(EPOCH.into()),
                created_by: Some(name),
                ..History::default()
            });
            built.push(layer);
        }
        let config = manifest::to_bytes(&config)?;
        let blobs = built.iter().map(|layer| layer.blob.descriptor.clone()).collect();
        let manifest =
            manifest::to_bytes(&Manifest::new(Descriptor::of(media_type::CONFIG, &config), blobs))?;
        let digest = Digest::of(&manifest);
        Ok(Self { layers: built, config, manifest, digest })
    }

    /// Digest of the manifest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The layers' blobs, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().map(|layer| &layer.blob.descriptor)
    }

    /// Length of all blobs and the manifest.
    pub fn bytes(&self) -> u64 {
        let blobs: u64 = self.layers.iter().map(|layer| layer.blob.descriptor.size).sum();
        blobs + (self.config.len() + self.manifest.len()) as u64
    }

    /// Sends what the registry does not have and names it as `image` says (`latest` without a tag). Returns the bytes of
    /// blobs that were sent.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn push(
        &self,
        client: &Client,
        image: &Reference,
        progress: &Progress,
    ) -> Result<u64, RegistryError> {
        let repository = client.repository(image, Access::Push)?;
        let mut sent = 0;
        for layer in &self.layers {
            let content = Content::File(layer.file.to_path_buf());
            let outcome = repository.put_blob(&layer.blob.descriptor, &content, None, progress).await?;
            sent += outcome.sent();
        }
        let config = Descriptor::of(media_type::CONFIG, &self.config);
        let content = Content::Bytes(Bytes::copy_from_slice(&self.config));
        sent += repository.put_blob(&config, &content, None, progress).await?.sent();
        let bytes = Bytes::copy_from_slice(&self.manifest);
        repository.put_manifest(image.tag().unwrap_or("latest"), media_type::MANIFEST, bytes).await?;
        Ok(sent)
    }

    /// Writes a tar of an OCI layout under the given names, as `ctr images import`, `docker load` and `skopeo` take it.
    ///
    /// # Errors
    /// When a blob cannot be read or `out` not written.
    pub fn write_archive(&self, names: &[&Reference], out: impl Write) -> Result<(), ImageError> {
        let mut tar = tar::Builder::new(out);
        let version = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        append(&mut tar, "oci-layout", version.as_bytes())?;
        append(&mut tar, "index.json", &manifest::to_bytes(&self.index(names))?)?;
        for bytes in [&self.manifest, &self.config] {
            append(&mut tar, &blob_path(&Digest::of(bytes)), bytes)?;
        }
        for layer in &self.layers {
            append_file(&mut tar, &blob_path(&layer.blob.descriptor.digest), &layer.file)?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    fn index(&self, names: &[&Reference]) -> Index {
        let manifests = names.iter().map(|name| {
            let mut descriptor = Descriptor::of(media_type::MANIFEST, &self.manifest);
            descriptor.annotations.insert(CONTAINERD_NAME.into(), name.to_string());
            descriptor.annotations.insert(REF_NAME.into(), name.identifier().to_owned());
            descriptor
        });
        Index {
            schema_version: 2,
            media_type: Some(media_type::INDEX.into()),
            manifests: manifests.collect(),
            annotations: Default::default(),
            other: serde_json::Map::new(),
        }
    }
}

fn to_file(
    name: &str,
    builder: &LayerBuilder,
    write: fn(&LayerBuilder, &mut File) -> Result<LayerBlob, LayerError>,
) -> Result<Layer, ImageError> {
    let mut file = tempfile::NamedTempFile::new()?;
    let blob = write(builder, file.as_file_mut())
        .map_err(|source| ImageError::Layer { name: name.to_owned(), source })?;
    Ok(Layer { blob, file: file.into_temp_path() })
}

fn compress(layer: &LayerBuilder, file: &mut File) -> Result<LayerBlob, LayerError> {
    layer.write_blob(file)
}

fn plain(layer: &LayerBuilder, file: &mut File) -> Result<LayerBlob, LayerError> {
    let mut tar = DigestWriter::new(io::BufWriter::new(file));
    layer.write_tar(&mut tar)?;
    let (buffered, diff_id, tar_bytes) = tar.finish();
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.flush()?;
    let descriptor = Descriptor::new(media_type::LAYER, diff_id.clone(), tar_bytes);
    Ok(LayerBlob { descriptor, diff_id, tar_bytes })
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), path, bytes)
}

fn append_file<W: Write>(tar: &mut tar::Builder<W>, path: &str, source: &Path) -> io::Result<()> {
    let file = fs_err::File::open(source)?;
    let size = file.metadata()?.len();
    tar.append_data(&mut header(size), path, file)
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use super::*;

    fn layer() -> LayerBuilder {
        let mut layer = LayerBuilder::new();
        layer.add_bytes("etc/passwd", b"root:x:0:0::/:\n".to_vec(), false).unwrap();
        layer.add_folder("tmp", 0o1777).unwrap();
        layer.add_link("bin/sh", Path::new("busybox")).unwrap();
        layer
    }

    fn image() -> Image {
        let run = RunConfig { user: "65532".into(), ..RunConfig::default() };
        Image::build(run, [("files".to_owned(), layer())]).unwrap()
    }

    #[test]
    fn a_plain_layer_is_its_own_digest() {
        let image = Image::build_plain(RunConfig::default(), [("files".to_owned(), layer())]).unwrap();
        let LayerBlob { descriptor, diff_id, tar_bytes } = &image.layers[0].blob;
        assert_eq!((&descriptor.digest, descriptor.size), (diff_id, *tar_bytes));
        assert_eq!(descriptor.media_type, media_type::LAYER);
        assert_eq!(*diff_id, Digest::of(&std::fs::read(&image.layers[0].file).unwrap()));
        assert_eq!(*diff_id, layer().diff_id().unwrap().0);
    }

    #[test]
    fn the_same_image_every_time() {
        assert_eq!(image().digest(), image().digest());
    }

    #[test]
    fn the_archive_is_a_layout() {
        let image = image();
        let name: Reference = "dev.local/a:1".parse().unwrap();
        let mut bytes = Vec::new();
        image.write_archive(&[&name], &mut bytes).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let index: Index = serde_json::from_slice(&files["index.json"]).unwrap();
        let found = &index.manifests[0];
        assert_eq!(&found.digest, image.digest());
        assert_eq!(found.annotations[CONTAINERD_NAME], "dev.local/a:1");
        let manifest: Manifest = serde_json::from_slice(&files[&blob_path(&found.digest)]).unwrap();
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let content = &files[&blob_path(&blob.digest)];
            assert_eq!((Digest::of(content), content.len() as u64), (blob.digest.clone(), blob.size));
        }
        let config: ImageConfig =
            serde_json::from_slice(&files[&blob_path(&manifest.config.digest)]).unwrap();
        assert_eq!((config.rootfs.diff_ids.len(), config.config.user.as_str()), (1, "65532"));
    }
}
