//! Images as Docker has them: pulled by Docker, from the engine's registry or another one.
//!
//! An image that only this Docker engine knows (`docker build -t mine`) is used as it is.

use std::{net::SocketAddr, time::Duration};

use bollard::{
    Docker, auth::DockerCredentials, errors::Error, models::ImageInspect,
    query_parameters::CreateImageOptions,
};
use futures::TryStreamExt;
use tm_oci::{Reference, auth::Credentials};
use tm_resources::target::HOST_IMAGE;
use tokio::time::timeout;

use super::{
    super::{
        ImageRequest,
        image::{Image, ImageError, ImageStore, parse},
    },
    has_status,
};

/// Longest wait for a pull.
pub(super) const PULL_LIMIT: Duration = Duration::from_secs(600);

/// The image, pulled if need be: always when it is a tag of the engine's registry, which moves with each build.
pub(super) async fn get(
    docker: &Docker,
    registry: SocketAddr,
    images: &ImageStore,
    request: ImageRequest<'_>,
) -> Result<Image, ImageError> {
    let reference = parse(request.reference)?;
    if images.is_host(&reference) {
        return Err(ImageError::HostInDocker(HOST_IMAGE));
    }
    let own = images.is_own(&reference);
    let name = docker_name(&reference, own.then_some(registry));
    let moves = own && reference.digest().is_none();
    if !moves && let Some(found) = inspect(docker, &name).await? {
        return Ok(image_of(found));
    }
    let credentials = if own { None } else { credentials(images, &reference, request).await };
    pull(docker, &name, credentials).await?;
    match inspect(docker, &name).await? {
        Some(found) => Ok(image_of(found)),
        None => Err(ImageError::NotThere(name)),
    }
}

/// The name Docker knows an image by. The tag goes when there is a digest: Docker would look at one of the two only.
pub(super) fn docker_name(reference: &Reference, registry: Option<SocketAddr>) -> String {
    let name = match registry {
        Some(registry) => format!("{registry}/{}", reference.repository()),
        None => reference.name(),
    };
    let separator = if reference.digest().is_some() { '@' } else { ':' };
    format!("{name}{separator}{}", reference.identifier())
}

/// The image, if Docker has it.
pub(super) async fn inspect(docker: &Docker, name: &str) -> Result<Option<ImageInspect>, Error> {
    match docker.inspect_image(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if has_status(&error, &[404]) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets Docker pull it.
pub(super) async fn pull(
    docker: &Docker,
    name: &str,
    credentials: Option<DockerCredentials>,
) -> Result<(), ImageError> {
    let options = CreateImageOptions { from_image: Some(name.into()), ..CreateImageOptions::default() };
    let steps = docker.create_image(Some(options), None, credentials);
    let done = steps.try_for_each(|_| futures::future::ready(Ok(())));
    match timeout(PULL_LIMIT, done).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ImageError::Slow { image: name.into(), seconds: PULL_LIMIT.as_secs() }),
    }
}

/// What the pod's pull Secrets say for that registry.
async fn credentials(
    images: &ImageStore,
    reference: &Reference,
    request: ImageRequest<'_>,
) -> Option<DockerCredentials> {
    let keychain = images.keychain(request.namespace, request.secrets).await;
    let found = keychain.lookup(reference).ok()?.0;
    let none = DockerCredentials::default();
    match found {
        Credentials::Anonymous => None,
        Credentials::Basic { username, password } => Some(DockerCredentials {
            username: Some(username),
            password: Some(password.expose().into()),
            serveraddress: Some(reference.registry().into()),
            ..none
        }),
        Credentials::Identity(token) => {
            Some(DockerCredentials { identitytoken: Some(token.expose().into()), ..none })
        }
        Credentials::Bearer(token) => {
            Some(DockerCredentials { registrytoken: Some(token.expose().into()), ..none })
        }
    }
}

fn image_of(found: ImageInspect) -> Image {
    let config = found.config.unwrap_or_default();
    Image {
        id: found.id.unwrap_or_default(),
        rootfs: None,
        complete: true,
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        working_dir: config.working_dir.filter(|folder| !folder.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_docker_s() {
        let registry: SocketAddr = "127.0.0.1:3002".parse().unwrap();
        let digest = format!("sha256:{}", "0".repeat(64));
        for (reference, own, wanted) in [
            ("tm.local/default/hello:v1".to_owned(), true, "127.0.0.1:3002/default/hello:v1".to_owned()),
            (
                format!("tm.local/default/hello:v1@{digest}"),
                true,
                format!("127.0.0.1:3002/default/hello@{digest}"),
            ),
            ("python:3.13-slim".to_owned(), false, "index.docker.io/library/python:3.13-slim".to_owned()),
            ("tm-test/base".to_owned(), false, "index.docker.io/tm-test/base:latest".to_owned()),
        ] {
            let parsed: Reference = reference.parse().unwrap();
            assert_eq!(docker_name(&parsed, own.then_some(registry)), wanted);
        }
    }
}
