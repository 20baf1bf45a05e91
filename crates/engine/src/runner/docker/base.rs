//! The base image of builds in the engine's registry, where `build-tasks assemble` reads it and mounts its layers from.
//!
//! It may be one that only this Docker engine has. Docker pushes it once; afterwards it also knows which of a function's
//! layers it has already and pulls the others only.

use std::{fmt::Display, time::Duration};

use bollard::{
    errors::Error,
    query_parameters::{PushImageOptions, TagImageOptions},
};
use futures::TryStreamExt;
use tokio::time::timeout;

use super::{DockerError, DockerRunner, image};
use crate::{registry::Storage, runner::image::ImageError};

/// Repository of base images in the engine's registry.
const REPOSITORY: &str = "docker-base";
/// Digits of Docker's image id that become the tag.
const TAG_LENGTH: usize = 16;
/// Longest wait for the push.
const PUSH_LIMIT: Duration = Duration::from_secs(600);

// === impl DockerRunner ===

impl DockerRunner {
    /// Brings `text`, pulled if Docker does not have it, into the engine's registry, and returns its name there. The
    /// registry must be answering.
    ///
    /// # Errors
    /// When the image cannot be had or cannot be pushed.
    pub async fn publish_base(&self, text: &str, storage: &Storage) -> Result<String, DockerError> {
        let id = self.base_id(text).await?;
        let digits = id.trim_start_matches("sha256:");
        let tag = digits.get(..TAG_LENGTH).unwrap_or(digits);
        let repository = format!("{}/{REPOSITORY}", self.registry);
        let name = format!("{repository}:{tag}");
        let known = name.parse().is_ok_and(|reference| storage.image(&reference).is_ok());
        self.tag(text, &id, &repository, tag).await?;
        if !known {
            tracing::info!(image = text, name, "bringing the base image into the registry");
            self.push(text, &repository, tag).await?;
        }
        Ok(name)
    }

    async fn base_id(&self, text: &str) -> Result<String, DockerError> {
        let reference =
            text.parse().map_err(|source| DockerError::BaseName { image: text.into(), source })?;
        let name = image::docker_name(&reference, None);
        let failed = |what| move |source: Error| DockerError::Base { what, image: text.into(), source };
        if image::inspect(&self.docker, &name).await.map_err(failed("look for"))?.is_none() {
            image::pull(&self.docker, &name, None).await.map_err(|error| match error {
                ImageError::Docker(source) => failed("pull")(source),
                _ => DockerError::BaseTimeout { what: "pull", image: text.into() },
            })?;
        }
        let found = image::inspect(&self.docker, &name).await.map_err(failed("look for"))?;
        found.and_then(|found| found.id).ok_or_else(|| {
            failed("look for")(Error::DockerResponseServerError {
                status_code: 404,
                message: "it is not there after the pull".into(),
            })
        })
    }

    async fn tag(&self, text: &str, id: &str, repository: &str, tag: &str) -> Result<(), DockerError> {
        let options = TagImageOptions { repo: Some(repository.into()), tag: Some(tag.into()) };
        let failed = |source| DockerError::Base { what: "name", image: text.into(), source };
        self.docker.tag_image(id, Some(options)).await.map_err(failed)
    }

    async fn push(&self, text: &str, repository: impl Display, tag: &str) -> Result<(), DockerError> {
        let options = PushImageOptions { tag: Some(tag.into()), platform: None };
        let steps = self.docker.push_image(&repository.to_string(), Some(options), None);
        let done = steps.try_for_each(|_| futures::future::ready(Ok(())));
        match timeout(PUSH_LIMIT, done).await {
            Ok(result) => {
                result.map_err(|source| DockerError::Base { what: "push", image: text.into(), source })
            }
            Err(_) => Err(DockerError::BaseTimeout { what: "push", image: text.into() }),
        }
    }
}
