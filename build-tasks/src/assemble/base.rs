//! The base image: manifest and config only.

use tm_oci::{
    Digest, Reference,
    manifest::{self, ImageConfig, Manifest, Platform},
    registry::{Client, RegistryError},
};

use crate::error::Failure;

/// The base "this machine", which has no layers and needs no registry.
const HOST: (&str, &str) = ("tm.local", "host");

/// What the image is built on.
pub(super) struct Base {
    pub(super) reference: Reference,
    pub(super) digest: Digest,
    /// In OCI media types.
    pub(super) manifest: Manifest,
    pub(super) config: ImageConfig,
}

/// Reads the base's manifest and config.
pub(super) async fn pull(client: &Client, reference: &Reference) -> Result<Base, Failure> {
    if (reference.registry(), reference.repository()) == HOST {
        return this_machine(reference);
    }
    let image =
        client.pull_image(reference, &Platform::host()).await.map_err(|error| explained(error, reference))?;
    Ok(Base {
        reference: reference.clone(),
        digest: image.digest,
        manifest: image.manifest.into_oci(),
        config: image.config,
    })
}

fn this_machine(reference: &Reference) -> Result<Base, Failure> {
    let failed = |error| Failure::new("failed to make the base", error);
    let (image, config, _) = manifest::host_image().map_err(failed)?;
    let bytes = manifest::to_bytes(&image).map_err(failed)?;
    Ok(Base { reference: reference.clone(), digest: Digest::of(&bytes), manifest: image, config })
}

fn explained(error: RegistryError, reference: &Reference) -> Failure {
    let missing = error.is_not_found();
    let failure = Failure::from(error);
    if missing {
        failure.hint(format!("BASE_IMAGE is {reference}: is it the right one, and for this kind of machine?"))
    } else {
        failure
    }
}
