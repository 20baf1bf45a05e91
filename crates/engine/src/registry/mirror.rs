//! Images of other registries into ours, so that they are unpacked from here and stay when the other registry goes.
//!
//! The manifest of this machine's platform is kept byte for byte, so its digest stays what it was.

use bytes::Bytes;
use futures::StreamExt;
use tm_oci::{
    Digest, Reference,
    manifest::{Descriptor, Index, Manifest, Platform},
    media_type,
    registry::{Access, Client, RegistryError, Repository},
};

use super::storage::{Storage, StorageError};

/// Folder of mirrored repositories.
const PREFIX: &str = "mirror";

/// Why an image could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The other registry refused or cannot be reached.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It cannot be stored here.
    #[error("failed to store the image")]
    Storage(#[from] StorageError),
    /// A blob could not be stored.
    #[error("failed to store blob {digest}: {problem}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        problem: String,
    },
    /// The image's name is too long or the manifest is not valid.
    #[error("the image cannot be mirrored: {0}")]
    Unusable(String),
}

/// The name an image of another registry has here.
pub fn mirrored_as(image: &Reference) -> String {
    // Ports and IPv6 literals have characters that a repository's name must not have.
    let host: String = image
        .registry()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' })
        .collect();
    format!("{PREFIX}/{}/{}", host.trim_matches('-'), image.repository())
}

/// Fetches what of an image is not here yet and returns the digest of its manifest.
///
/// # Errors
/// When the registry does not have it for this machine, or it cannot be stored.
pub async fn mirror(storage: &Storage, client: &Client, image: &Reference) -> Result<Digest, MirrorError> {
    let name = mirrored_as(image);
    if !tm_oci::reference::is_repository(&name) {
        return Err(MirrorError::Unusable(format!("`{name}` is no name")));
    }
    let source = client.repository(image, Access::Pull)?;
    let (media_type, bytes) = manifest(&source, image).await?;
    let parsed: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| MirrorError::Unusable(error.to_string()))?;
    for blob in std::iter::once(&parsed.config).chain(&parsed.layers) {
        fetch(storage, &source, blob).await?;
    }
    let (storage, tag) = (storage.clone(), image.tag().map(str::to_owned));
    let put = move || storage.put_manifest(&name, tag.as_deref(), Some(&media_type), &bytes);
    let put = tokio::task::spawn_blocking(put).await;
    Ok(put.map_err(|error| StorageError::Io(std::io::Error::other(error)))??)
}

/// The manifest for this machine.
async fn manifest(source: &Repository, image: &Reference) -> Result<(String, Bytes), MirrorError> {
    let (descriptor, bytes) = source.manifest(image.identifier()).await?;
    if !media_type::is_index(&descriptor.media_type) {
        return Ok((descriptor.media_type, bytes));
    }
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|error| MirrorError::Unusable(error.to_string()))?;
    let chosen = index.select(&Platform::host()).ok_or(StorageError::NoPlatform)?;
    let (descriptor, bytes) = source.manifest(chosen.digest.as_str()).await?;
    Ok((descriptor.media_type, bytes))
}

async fn fetch(storage: &Storage, source: &Repository, blob: &Descriptor) -> Result<(), MirrorError> {
    if storage.touch_blob(&blob.digest)?.is_some() {
        return Ok(());
    }
    let failed = |problem: super::problem::Problem| MirrorError::Blob {
        digest: blob.digest.clone(),
        problem: problem.to_string(),
    };
    let stream = source.blob(blob).await?;
    let id = storage.uploads().begin().map_err(failed)?;
    let stored = async {
        let mut upload = storage.uploads().take(&id).map_err(failed)?;
        // The first error of the stream says more than that the stream broke off.
        let mut broken = None;
        let checked = stream.map(|chunk| chunk.map_err(|error| broken = Some(error)));
        let appended = upload.append(checked).await;
        if let Some(error) = broken {
            return Err(error.into());
        }
        appended.map_err(failed)?;
        upload.finish(&blob.digest, storage.blob_path(&blob.digest)).await.map_err(failed)
    }
    .await;
    storage.uploads().forget(&id);
    stored
}

#[cfg(test)]
mod tests {
    use tm_oci::manifest::{self as oci, ImageConfig};

    use super::*;

    #[test]
    fn names_are_legal() {
        for (image, name) in [
            ("python:3", "mirror/index.docker.io/library/python"),
            ("127.0.0.1:5000/a/b", "mirror/127.0.0.1-5000/a/b"),
            ("[::1]:5000/a", "mirror/1--5000/a"),
            ("GHCR.io/a", "mirror/ghcr.io/a"),
        ] {
            let got = mirrored_as(&image.parse().unwrap());
            assert!(tm_oci::reference::is_repository(&got), "{got}");
            assert_eq!(got, name);
        }
    }

    #[tokio::test]
    async fn an_image_keeps_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let (there, here) = (
            Storage::open(dir.path().join("there")).unwrap(),
            Storage::open(dir.path().join("here")).unwrap(),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap();
        let app = super::super::router(there.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await });

        let config = ImageConfig {
            os: "linux".into(),
            architecture: Platform::host().architecture,
            ..ImageConfig::default()
        };
        let config = oci::to_bytes(&config).unwrap();
        for bytes in [&config[..], b"layer"] {
            std::fs::write(there.blob_path(&Digest::of(bytes)), bytes).unwrap();
        }
        let image = Manifest::new(
            Descriptor::of(media_type::DOCKER_CONFIG, &config),
            vec![Descriptor::of(media_type::DOCKER_LAYER_GZIP, b"layer")],
        );
        let image = Manifest { media_type: Some(media_type::DOCKER_MANIFEST.into()), ..image };
        let bytes = oci::to_bytes(&image).unwrap();
        there.put_manifest("app", Some("v1"), None, &bytes).unwrap();

        let reference: Reference = format!("{host}/app:v1").parse().unwrap();
        let client = Client::new(Default::default());
        let digest = mirror(&here, &client, &reference).await.unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        let local: Reference = format!("tm.local/{}:v1", mirrored_as(&reference)).parse().unwrap();
        assert_eq!(here.image(&local).unwrap().0, digest);
        assert!(here.open_blob(&Digest::of(b"layer")).is_ok());
        let missing = mirror(&here, &client, &format!("{host}/app:v2").parse().unwrap()).await.unwrap_err();
        assert!(matches!(missing, MirrorError::Registry(error) if error.is_not_found()));

        // A registry that sends other bytes leaves nothing here.
        std::fs::write(there.blob_path(&Digest::of(b"other")), b"OTHER").unwrap();
        let lying = Manifest { layers: vec![Descriptor::of(media_type::LAYER, b"other")], ..image };
        let lying =
            oci::to_bytes(&Manifest { media_type: Some(media_type::MANIFEST.into()), ..lying }).unwrap();
        there.put_manifest("app", Some("v3"), None, &lying).unwrap();
        let refused = mirror(&here, &client, &format!("{host}/app:v3").parse().unwrap()).await.unwrap_err();
        assert!(matches!(refused, MirrorError::Registry(RegistryError::Digest { .. })), "{refused}");
        assert!(here.open_blob(&Digest::of(b"other")).is_err());
        server.abort();
    }
}
