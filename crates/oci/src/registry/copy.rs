//! An image from one repository to another: the manifest stays as it is, and with it the digest. Blobs are mounted on the same
//! registry, streamed through us to another.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    client::Client,
    error::RegistryError,
    push::{Content, Progress},
    repository::{Access, Repository},
};
use crate::{
    digest::Digest,
    manifest::{Descriptor, Manifest, Platform},
    reference::Reference,
};

/// Blobs that are sent at once.
const AT_ONCE: usize = 4;

/// An image as its registry has it, for one platform.
#[derive(Clone, Debug)]
pub struct Original {
    from: Repository,
    descriptor: Descriptor,
    manifest: Bytes,
    blobs: Vec<Descriptor>,
}

// === impl Client ===

impl Client {
    /// Looks up `image` for `platform`; nothing but the manifest is read.
    ///
    /// # Errors
    /// When the registry does not have it, not for this platform, or cannot be asked.
    pub async fn original(&self, image: &Reference, platform: &Platform) -> Result<Original, RegistryError> {
        let from = self.repository(image, Access::Pull)?;
        let (descriptor, bytes) = from.manifest_for(image.identifier(), platform).await?;
        let Manifest { config, mut layers, .. } = from.json(&bytes, "manifest")?;
        layers.push(config);
        Ok(Original { from, descriptor, manifest: bytes, blobs: layers })
    }
}

// === impl Original ===

impl Original {
    /// Digest of the manifest, here and in every copy.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// Length of all blobs.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Sends what `image`'s registry does not have and names it as `image` says (`latest` without a tag). Returns the bytes
    /// of blobs that were sent.
    ///
    /// # Errors
    /// When one registry does not give a blob, or the other refuses it.
    pub async fn copy(
        &self,
        client: &Client,
        image: &Reference,
        progress: &Progress,
    ) -> Result<u64, RegistryError> {
        let to = client.repository(image, Access::Push)?;
        let sibling = (self.from.registry() == to.registry()).then(|| self.from.name());
        if let Some(sibling) = sibling {
            to.also_read(sibling);
        }
        let content = Content::Remote(self.from.clone());
        let outcomes = stream::iter(&self.blobs)
            .map(|blob| to.put_blob(blob, &content, sibling, progress))
            .buffer_unordered(AT_ONCE);
        let sent = outcomes.try_fold(0, async |sum, outcome| Ok(sum + outcome.sent())).await?;
        let tag = image.tag().unwrap_or("latest");
        to.ensure_manifest(tag, &self.descriptor.media_type, self.manifest.clone()).await?;
        Ok(sent)
    }
}
