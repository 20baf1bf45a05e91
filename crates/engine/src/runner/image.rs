//! Images: from a reference to a folder of unpacked layers and the config that goes with it.
//!
//! References to the engine's own registry (`tm.local/…`, and whatever address its registry listens on) are read from its
//! storage; others are pulled with the pod's pull Secrets. Each image is unpacked once, by the digest of its manifest.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
};

use fs_err as fs;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tm_oci::{
    Digest, Reference,
    auth::{DockerConfig, Keychain},
    manifest::{Descriptor, ImageConfig, Manifest, Platform},
    reference::InvalidReference,
    registry::{ClientOptions, RegistryError},
    unpack::{UnpackError, unpack_image},
};
use tm_resources::target::ENGINE_REGISTRY;
use tokio::sync::Mutex;

use crate::registry::{Storage, StorageError};

/// Repository of the base "this machine" in the engine's registry.
const HOST_REPOSITORY: &str = "host";

/// An image that is ready to run.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// `name@sha256:…`.
    pub id: String,
    /// Its unpacked layers; `None` when it has none.
    pub rootfs: Option<PathBuf>,
    /// Whether it is a whole system of its own rather than an addition to the machine's.
    pub complete: bool,
    /// The command.
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The text is no reference.
    #[error("`{reference}` is no image reference")]
    Reference {
        /// What was given.
        reference: String,
        /// Why.
        #[source]
        source: InvalidReference,
    },
    /// The engine's registry has it not.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another registry has it not or was not to be asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry has no such manifest; in the words of the resolver of Knative, which asks with HEAD.
    #[error(
        "HEAD {url}: unexpected status code 404 Not Found (HEAD responses have no body, use GET for details)"
    )]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The disk failed.
    #[error("failed to store the image")]
    Io(#[from] std::io::Error),
    /// Docker cannot get it.
    #[error("Docker failed to get the image")]
    Docker(#[from] bollard::errors::Error),
    /// Docker takes too long.
    #[error("Docker did not get `{image}` within {seconds} seconds")]
    Slow {
        /// The image.
        image: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Docker pulled it and has it not.
    #[error("Docker does not have `{0}`")]
    NotThere(String),
    /// The base "this machine" is no image for Docker.
    #[error(
        "`{0}` stands for this machine's own tools, which containers in Docker do not see: name a real image"
    )]
    HostInDocker(&'static str),
}

/// Resolves, pulls and unpacks.
pub struct ImageStore {
    storage: Storage,
    folder: PathBuf,
    client: Client,
    /// Addresses the engine's registry answers to.
    own: RwLock<Vec<String>>,
    /// One pull at a time: two pods of one image would do the work twice.
    pulling: Mutex<()>,
}

/// Where an image's bytes come from.
enum Origin {
    Own,
    Remote(tm_oci::registry::Client),
}

// === impl ImageStore ===

impl ImageStore {
    /// A store that unpacks below `folder` and reads pull Secrets with `client`.
    pub fn new(storage: Storage, folder: PathBuf, client: Client) -> Self {
        let own = RwLock::new(vec![ENGINE_REGISTRY.to_owned()]);
        Self { storage, folder, client, own, pulling: Mutex::new(()) }
    }

    /// Another address of the engine's own registry (`127.0.0.1:3002`).
    pub fn add_own_address(&self, address: String) {
        self.own.write().expect("no holder of this lock panics").push(address);
    }

    /// `name@sha256:…` of a reference, asking its registry when it names a tag.
    ///
    /// # Errors
    /// [`ImageError`] when it is not there or cannot be asked for.
    pub async fn resolve(
        &self,
        text: &str,
        namespace: &str,
        secrets: &[String],
    ) -> Result<String, ImageError> {
        let reference = parse(text)?;
        if self.is_own(&reference) {
            return match self.storage.image(&reference) {
                Ok((digest, _, _)) => Ok(reference.at_digest(digest).to_string()),
                Err(StorageError::ManifestUnknown(_)) => Err(self.not_found(&reference)),
                Err(error) => Err(error.into()),
            };
        }
        if reference.digest().is_some() {
            return Ok(reference.to_string());
        }
        let client = self.remote(namespace, secrets).await;
        let pulled = client.pull_image(&reference, &Platform::host()).await.map_err(|error| match error {
            RegistryError::NotFound { url: Some(url), .. } => ImageError::NotFound { url },
            error => error.into(),
        })?;
        Ok(reference.at_digest(pulled.digest).to_string())
    }

    /// The engine's own registry has it not: what its address would answer.
    fn not_found(&self, reference: &Reference) -> ImageError {
        let own = self.own.read().expect("no holder of this lock panics");
        let host = own.last().map_or(ENGINE_REGISTRY, String::as_str);
        let (name, wanted) = (reference.repository(), reference.identifier());
        ImageError::NotFound { url: format!("http://{host}/v2/{name}/manifests/{wanted}") }
    }

    /// The image, unpacked.
    ///
    /// # Errors
    /// [`ImageError`] when it is not there, cannot be pulled or cannot be unpacked.
    pub async fn get(&self, text: &str, namespace: &str, secrets: &[String]) -> Result<Image, ImageError> {
        let reference = parse(text)?;
        if self.is_host(&reference) {
            return Ok(Image { id: text.into(), ..Image::default() });
        }
        let (digest, manifest, config, origin) = if self.is_own(&reference) {
            let (digest, manifest, config) = self.storage.image(&reference)?;
            (digest, manifest, config, Origin::Own)
        } else {
            let client = self.remote(namespace, secrets).await;
            let pulled = client.pull_image(&reference, &Platform::host()).await?;
            (pulled.digest, pulled.manifest, pulled.config, Origin::Remote(client))
        };
        let rootfs = self.unpack(&reference, &digest, &manifest, &origin).await?;
        Ok(image_of(&reference, digest, config, rootfs))
    }

    /// Whether it is in the engine's own registry.
    pub(super) fn is_own(&self, reference: &Reference) -> bool {
        let own = self.own.read().expect("no holder of this lock panics");
        own.iter().any(|address| address == reference.registry())
    }

    /// Whether it is the base "this machine".
    pub(super) fn is_host(&self, reference: &Reference) -> bool {
        self.is_own(reference) && reference.repository() == HOST_REPOSITORY
    }

    async fn unpack(
        &self,
        reference: &Reference,
        digest: &Digest,
        manifest: &Manifest,
        origin: &Origin,
    ) -> Result<Option<PathBuf>, ImageError> {
        if manifest.layers.is_empty() {
            return Ok(None);
        }
        let dest = self.folder.join(digest.hex());
        if dest.is_dir() {
            return Ok(Some(dest));
        }
        let _one = self.pulling.lock().await;
        if dest.is_dir() {
            return Ok(Some(dest));
        }
        let layers = manifest.layers.clone();
        let blobs = match origin {
            Origin::Own => None,
            Origin::Remote(client) => Some(self.download(client, reference, &layers).await?),
        };
        let (storage, target) = (self.storage.clone(), dest.clone());
        let work = tokio::task::spawn_blocking(move || {
            let open = |layer: &Descriptor| match &blobs {
                Some(folder) => std::fs::File::open(folder.path().join(layer.digest.hex())),
                None => storage.open_blob(&layer.digest).map_err(std::io::Error::other),
            };
            unpack_image(&layers, open, &target)
        });
        work.await.map_err(std::io::Error::other)??;
        Ok(Some(dest))
    }

    /// Layers of another registry into a folder that goes when they are unpacked.
    async fn download(
        &self,
        client: &tm_oci::registry::Client,
        reference: &Reference,
        layers: &[Descriptor],
    ) -> Result<tempfile::TempDir, ImageError> {
        use tokio::io::AsyncWriteExt;
        let folder = tempfile::Builder::new().prefix(".pull-").tempdir_in(&self.folder)?;
        let repository = client.repository(reference, tm_oci::registry::Access::Pull)?;
        for layer in layers {
            let path = folder.path().join(layer.digest.hex());
            let mut file = tokio::fs::File::from_std(fs::File::create(path)?.into());
            let mut stream = repository.blob(layer).await?;
            while let Some(chunk) = stream.next().await {
                file.write_all(&chunk?).await?;
            }
            file.flush().await?;
        }
        Ok(folder)
    }

    async fn remote(&self, namespace: &str, secrets: &[String]) -> tm_oci::registry::Client {
        let keychain = self.keychain(namespace, secrets).await;
        tm_oci::registry::Client::new(ClientOptions { keychain, ..ClientOptions::default() })
    }

    /// The credentials of the pod's pull Secrets. A Secret that is not there or is damaged counts as none, as on a node.
    pub(super) async fn keychain(&self, namespace: &str, secrets: &[String]) -> Keychain {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut configs = Vec::new();
        for name in secrets {
            let Ok(Some(secret)) = api.get_opt(name).await else { continue };
            let data = secret.data.unwrap_or_default();
            if let Some(config) =
                data.get(".dockerconfigjson").and_then(|text| DockerConfig::parse(&text.0).ok())
            {
                configs.push(config);
            }
        }
        Keychain::of_configs(configs)
    }
}

/// A shared store.
pub type SharedImages = Arc<ImageStore>;

pub(super) fn parse(text: &str) -> Result<Reference, ImageError> {
    text.parse().map_err(|source| ImageError::Reference { reference: text.into(), source })
}

fn image_of(reference: &Reference, digest: Digest, config: ImageConfig, rootfs: Option<PathBuf>) -> Image {
    // A shell or a name of a distribution marks a system of its own; a function's layers alone have neither.
    let marks = ["etc/os-release", "usr/lib/os-release", "bin/sh", "usr/bin/env"];
    let complete = rootfs
        .as_ref()
        .is_some_and(|root| marks.iter().any(|mark| root.join(mark).symlink_metadata().is_ok()));
    let working_dir = Some(config.config.working_dir).filter(|folder| !folder.is_empty());
    Image {
        id: reference.at_digest(digest).to_string(),
        rootfs,
        complete,
        entrypoint: config.config.entrypoint,
        cmd: config.config.cmd,
        env: config.config.env,
        working_dir,
    }
}
