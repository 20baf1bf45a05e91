//! Writing: blobs that the registry does not have yet, then the manifest.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{StatusCode, header};
use reqwest::{Response, Url};

use super::{
    error::RegistryError,
    repository::{Progressing, Repository, backoff},
};
use crate::{digest::Digest, manifest::Descriptor, media_type};

/// Names the manifest that an answer is about (distribution specification, "Pulling manifests").
const CONTENT_DIGEST: &str = "docker-content-digest";

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File(PathBuf),
    /// In another repository, usually on another registry: streamed through us.
    Remote(Repository),
}

/// How a blob got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Exists,
    /// The registry took it from another of its repositories.
    Mounted,
    /// So many bytes were sent.
    Sent(u64),
}

/// What happens to a blob, for a progress display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobEvent {
    /// Bytes sent so far, of how many.
    Sending {
        /// So far.
        sent: u64,
        /// In all.
        total: u64,
    },
    /// It is there now.
    Done(Outcome),
}

/// Is told what happens to each blob.
pub type Progress = Arc<dyn Fn(&Descriptor, BlobEvent) + Send + Sync>;

// === impl Outcome ===

impl Outcome {
    /// Bytes that were sent.
    pub fn sent(self) -> u64 {
        match self {
            Self::Sent(bytes) => bytes,
            Self::Exists | Self::Mounted => 0,
        }
    }
}

// === impl Content ===

impl Content {
    async fn open(
        &self,
        blob: &Descriptor,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, RegistryError> {
        Ok(match self {
            Self::Bytes(bytes) => futures::stream::iter([Ok(bytes.clone())]).boxed(),
            Self::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(RegistryError::Content)?;
                tokio_util::io::ReaderStream::with_capacity(file, 64 * 1024).boxed()
            }
            Self::Remote(repository) => repository.blob(blob).await?.map_err(std::io::Error::other).boxed(),
        })
    }
}

// === impl Repository ===

impl Repository {
    /// Whether the registry has a blob.
    ///
    /// # Errors
    /// When the registry cannot be asked or does not let us.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let action = format!("look for {digest}");
        let url = self.url(&format!("blobs/{digest}")).await?;
        let response = self.send(&action, &url, &|http| http.head(url.clone())).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            // A redirect says where it is, so it is.
            status if status.is_success() || status.is_redirection() => Ok(true),
            _ => Err(self.refused(&action, response).await),
        }
    }

    /// Makes sure the registry has a blob: asks, mounts it from `sibling`, and sends it if neither helps.
    ///
    /// # Errors
    /// When the registry refuses it or the content cannot be read.
    pub async fn put_blob(
        &self,
        blob: &Descriptor,
        content: &Content,
        sibling: Option<&str>,
        progress: &Progress,
    ) -> Result<Outcome, RegistryError> {
        let outcome = if self.has_blob(&blob.digest).await? {
            Outcome::Exists
        } else {
            self.upload(blob, content, sibling, progress).await?
        };
        progress(blob, BlobEvent::Done(outcome));
        Ok(outcome)
    }

    /// Writes a manifest under a tag or its digest and returns the digest.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn put_manifest(
        &self,
        identifier: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        let action = format!("push {}:{identifier}", self.name());
        let url = self.url(&format!("manifests/{identifier}")).await?;
        let make = |http: &reqwest::Client| {
            http.put(url.clone()).header(header::CONTENT_TYPE, media_type).body(bytes.clone())
        };
        let response = self.send(&action, &url, &make).await?;
        if response.status().is_success() {
            Ok(Digest::of(&bytes))
        } else {
            Err(self.refused(&action, response).await)
        }
    }

    /// Makes sure that `identifier` is this manifest: asks, and writes it when it is missing or another.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn ensure_manifest(
        &self,
        identifier: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(Digest, Outcome), RegistryError> {
        let digest = Digest::of(&bytes);
        if self.has_manifest(identifier, media_type, &digest).await? {
            return Ok((digest, Outcome::Exists));
        }
        let sent = Outcome::Sent(bytes.len() as u64);
        Ok((self.put_manifest(identifier, media_type, bytes).await?, sent))
    }

    /// Whether `identifier` is the manifest of that digest. A registry that does not say so clearly gets it once more.
    async fn has_manifest(
        &self,
        identifier: &str,
        media_type: &str,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let action = format!("look for {}:{identifier}", self.name());
        let url = self.url(&format!("manifests/{identifier}")).await?;
        let make = |http: &reqwest::Client| http.head(url.clone()).header(header::ACCEPT, media_type);
        let response = self.send(&action, &url, &make).await?;
        let named = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        Ok(response.status() == StatusCode::OK && named == Some(digest.as_str()))
    }

    /// Asks whether a push would be allowed: begins an upload and gives it up.
    ///
    /// # Errors
    /// What a push would fail with: wrong password, no right, no registry.
    pub async fn check_push(&self) -> Result<(), RegistryError> {
        let action = format!("push to {}", self.name());
        let Begun::Upload(url) = self.begin(&action, &[]).await? else { return Ok(()) };
        // The registry drops an unfinished upload by itself too, so a failure here is none.
        let _ =
            self.send_once(&action, &url, &|http| http.delete(url.clone()), &Progressing::default()).await;
        Ok(())
    }

    async fn upload(
        &self,
        blob: &Descriptor,
        content: &Content,
        sibling: Option<&str>,
        progress: &Progress,
    ) -> Result<Outcome, RegistryError> {
        let attempts = self.client().options().attempts.max(1);
        let mut attempt = 1;
        loop {
            match self.upload_once(blob, content, sibling, progress).await {
                Err(error) if error.is_transient() && attempt < attempts => {
                    tokio::time::sleep(backoff(attempt)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn upload_once(
        &self,
        blob: &Descriptor,
        content: &Content,
        sibling: Option<&str>,
        progress: &Progress,
    ) -> Result<Outcome, RegistryError> {
        let action = format!("push {} to {}", blob.digest, self.name());
        let mount = [("mount", blob.digest.as_str()), ("from", sibling.unwrap_or_default())];
        let query = if sibling.is_some() { &mount[..] } else { &[] };
        let mut url = match self.begin(&action, query).await? {
            Begun::Mounted => return Ok(Outcome::Mounted),
            Begun::Upload(url) => url,
        };
        url.query_pairs_mut().append_pair("digest", blob.digest.as_str());
        let response = self.send_blob(&action, &url, blob, content, progress).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::ACCEPTED => {
                Ok(Outcome::Sent(blob.size))
            }
            _ => Err(self.refused(&action, response).await),
        }
    }

    /// Begins an upload, or mounts.
    async fn begin(&self, action: &str, query: &[(&str, &str)]) -> Result<Begun, RegistryError> {
        let mut url = self.url("blobs/uploads/").await?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let make = |http: &reqwest::Client| http.post(url.clone()).header(header::CONTENT_LENGTH, 0);
        let response = self.send(action, &url, &make).await?;
        match response.status() {
            StatusCode::CREATED if !query.is_empty() => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => Ok(Begun::Upload(self.location(&response)?)),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound {
                host: self.host(),
                what: format!("the repository {}", self.name()),
                url: None,
            }),
            _ => Err(self.refused(action, response).await),
        }
    }

    /// The upload itself, streamed. It is sent once: the caller begins anew when it fails.
    async fn send_blob(
        &self,
        action: &str,
        url: &Url,
        blob: &Descriptor,
        content: &Content,
        progress: &Progress,
    ) -> Result<Response, RegistryError> {
        let moved = Progressing::default();
        // The stream may be asked for twice: when the token ran out just now.
        let first = std::sync::Mutex::new(Some(content.open(blob).await?));
        let make = |http: &reqwest::Client| {
            let stream = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            let stream = stream.unwrap_or_else(|| reopen(content.clone(), blob.clone()));
            http.put(url.clone())
                .header(header::CONTENT_TYPE, media_type::OCTETS)
                .header(header::CONTENT_LENGTH, blob.size)
                .body(reqwest::Body::wrap_stream(counted(
                    stream,
                    blob.clone(),
                    moved.clone(),
                    progress.clone(),
                )))
        };
        self.send_once(action, url, &make, &moved).await
    }
}

enum Begun {
    Mounted,
    Upload(Url),
}

/// The content once more, opened when it is first read.
fn reopen(content: Content, blob: Descriptor) -> BoxStream<'static, std::io::Result<Bytes>> {
    futures::stream::once(async move { content.open(&blob).await.map_err(std::io::Error::other) })
        .try_flatten()
        .boxed()
}

fn counted(
    stream: BoxStream<'static, std::io::Result<Bytes>>,
    blob: Descriptor,
    moved: Progressing,
    progress: Progress,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> {
    stream.inspect_ok(move |chunk| {
        let sent = moved.add(chunk.len() as u64);
        progress(&blob, BlobEvent::Sending { sent, total: blob.size });
    })
}
