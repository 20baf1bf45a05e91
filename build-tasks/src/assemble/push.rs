//! Sends what the registry does not have, then the manifest.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tm_oci::{
    Digest, Reference,
    manifest::{self, Descriptor, Manifest},
    media_type,
    registry::{Access, BlobEvent, Client, Content, Outcome, Progress, Repository},
};

use super::{
    base::Base,
    config::{LayerNote, Settings, image_config},
    layers::Layer,
};
use crate::{error::Failure, output};

/// Blobs on their way at a time.
const AT_ONCE: usize = 4;
/// Annotations that say what an image is based on.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What a push did.
pub(super) struct Pushed {
    pub(super) digest: Digest,
    /// Bytes of layers, config and manifest that were sent.
    pub(super) bytes: u64,
    /// Layers that were there or could be mounted.
    pub(super) there: usize,
    pub(super) layers: usize,
}

/// Pushes the image and returns the digest of its manifest.
pub(super) async fn push(
    client: &Client,
    image: &Reference,
    base: &Base,
    layers: Vec<Layer>,
    settings: &Settings,
) -> Result<Pushed, Failure> {
    let repository = client.repository(image, Access::Push)?;
    let from_base = push_base(client, &repository, base).await?;
    let notes: Vec<LayerNote> = layers
        .iter()
        .map(|layer| LayerNote { name: layer.name.clone(), diff_id: layer.diff_id().clone() })
        .collect();
    let ours: Vec<(Descriptor, Outcome)> = stream::iter(layers)
        .map(|layer| push_layer(&repository, layer))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let config = serialised(&image_config(base, &notes, settings))?;
    let config_blob = Descriptor::of(media_type::CONFIG, &config);
    let sent = repository.put_blob(&config_blob, &Content::Bytes(config.into()), None, &quiet()).await?;
    let mut manifest = Manifest::new(config_blob, base.manifest.layers.clone());
    manifest.layers.extend(ours.iter().map(|(blob, _)| blob.clone()));
    manifest.annotations.insert(BASE_NAME.into(), base.reference.to_string());
    manifest.annotations.insert(BASE_DIGEST.into(), base.digest.to_string());
    let bytes = serialised(&manifest)?;
    let tag = image.tag().unwrap_or("latest");
    let (digest, written) = repository.ensure_manifest(tag, media_type::MANIFEST, bytes.into()).await?;
    let outcomes = || from_base.iter().chain(ours.iter().map(|(_, outcome)| outcome));
    Ok(Pushed {
        digest,
        bytes: outcomes().map(|outcome| outcome.sent()).sum::<u64>() + sent.sent() + written.sent(),
        there: outcomes().filter(|outcome| outcome.sent() == 0).count(),
        layers: outcomes().count(),
    })
}

fn serialised(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    manifest::to_bytes(value).map_err(|error| Failure::new("failed to write the image's JSON", error))
}

/// The base's layers: mounted where both are on one registry, streamed through us where they are not.
async fn push_base(client: &Client, repository: &Repository, base: &Base) -> Result<Vec<Outcome>, Failure> {
    if base.manifest.layers.is_empty() {
        return Ok(Vec::new());
    }
    let source = client.repository(&base.reference, Access::Pull)?;
    let sibling = (source.registry() == repository.registry()).then(|| source.name().to_owned());
    if let Some(sibling) = &sibling {
        repository.also_read(sibling);
    }
    let content = Content::Remote(source);
    let outcomes = stream::iter(base.manifest.layers.clone())
        .map(|blob| {
            let (content, sibling) = (content.clone(), sibling.clone());
            async move { repository.put_blob(&blob, &content, sibling.as_deref(), &progress("base")).await }
        })
        .buffered(AT_ONCE);
    Ok(outcomes.try_collect().await?)
}

/// One of ours. A layer that the registry has is not even compressed.
async fn push_layer(repository: &Repository, layer: Layer) -> Result<(Descriptor, Outcome), Failure> {
    if let Some(blob) = layer.blob()
        && repository.has_blob(&blob.digest).await?
    {
        progress(&layer.name)(&blob, BlobEvent::Done(Outcome::Exists));
        return Ok((blob, Outcome::Exists));
    }
    let name = layer.name.clone();
    let compressed = tokio::task::spawn_blocking(move || layer.compress()).await;
    let (blob, file) = compressed.map_err(|error| Failure::new("failed to compress a layer", error))??;
    let content = Content::File(file.to_path_buf());
    let outcome = repository.put_blob(&blob.descriptor, &content, None, &progress(&name)).await?;
    Ok((blob.descriptor, outcome))
}

/// A line when a blob is done; large ones say in between how far they are.
fn progress(name: &str) -> Progress {
    const STEP: u64 = 16 << 20;
    let name = name.to_owned();
    Arc::new(move |blob: &Descriptor, event| {
        let short = &blob.digest.hex()[..12];
        match event {
            BlobEvent::Sending { sent, total } if sent < total && sent % STEP < 64 * 1024 && sent >= STEP => {
                output::line(&format!("{name} {short}: {sent} of {total} bytes"));
            }
            BlobEvent::Sending { .. } => {}
            BlobEvent::Done(Outcome::Exists) => output::line(&format!("{name} {short}: exists")),
            BlobEvent::Done(Outcome::Mounted) => output::line(&format!("{name} {short}: mounted")),
            BlobEvent::Done(Outcome::Sent(bytes)) => {
                output::line(&format!("{name} {short}: sent {bytes} bytes"))
            }
        }
    })
}

fn quiet() -> Progress {
    Arc::new(|_, _| {})
}
