//! Reading: manifests, configs and blobs, each checked against its digest.

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::{StatusCode, header};
use reqwest::{Response, Url};

use super::{
    client::Client,
    error::RegistryError,
    repository::{Access, Repository},
};
use crate::{
    digest::{Digest, Digester},
    manifest::{Descriptor, ImageConfig, Index, Manifest, Platform},
    media_type,
    reference::Reference,
};

/// Registries keep manifests below 4 MiB; configs of large images are smaller still.
const MAX_MANIFEST: usize = 8 << 20;
const MAX_CONFIG: u64 = 8 << 20;
const MAX_REDIRECTS: usize = 5;

/// What is known of an image without its layers.
#[derive(Clone, Debug)]
pub struct PulledImage {
    /// Digest of the manifest of our platform.
    pub digest: Digest,
    /// The manifest as the registry has it.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
}

// === impl Client ===

impl Client {
    /// Manifest and config of `image` for `platform`, without the layers.
    ///
    /// # Errors
    /// When the registry does not have it, not for this platform, or cannot be asked.
    pub async fn pull_image(
        &self,
        image: &Reference,
        platform: &Platform,
    ) -> Result<PulledImage, RegistryError> {
        let repository = self.repository(image, Access::Pull)?;
        repository.image(image.identifier(), platform).await
    }
}

// === impl Repository ===

impl Repository {
    /// Manifest and config of a tag or digest.
    ///
    /// # Errors
    /// As [`Client::pull_image`].
    pub async fn image(&self, identifier: &str, platform: &Platform) -> Result<PulledImage, RegistryError> {
        let (descriptor, bytes) = self.manifest_for(identifier, platform).await?;
        let manifest: Manifest = self.json(&bytes, "manifest")?;
        let config = self.small_blob(&manifest.config).await?;
        Ok(PulledImage { digest: descriptor.digest, config: self.json(&config, "config")?, manifest })
    }

    /// The manifest of a tag or digest; of an index the one for `platform`.
    pub(super) async fn manifest_for(
        &self,
        identifier: &str,
        platform: &Platform,
    ) -> Result<(Descriptor, Bytes), RegistryError> {
        let (descriptor, bytes) = self.manifest(identifier).await?;
        if !media_type::is_index(&descriptor.media_type) {
            return Ok((descriptor, bytes));
        }
        let index: Index = self.json(&bytes, "index")?;
        let chosen = index.select(platform).ok_or_else(|| RegistryError::NotFound {
            host: self.host(),
            what: format!("{}:{identifier} for {}/{}", self.name(), platform.os, platform.architecture),
            url: None,
        })?;
        self.manifest(chosen.digest.as_str()).await
    }

    /// A manifest or index by tag or digest, as bytes.
    ///
    /// # Errors
    /// When the registry does not have it or sends something else.
    pub async fn manifest(&self, identifier: &str) -> Result<(Descriptor, Bytes), RegistryError> {
        let action = format!("pull {}:{identifier}", self.name());
        let url = self.url(&format!("manifests/{identifier}")).await?;
        let make = |http: &reqwest::Client| {
            http.get(url.clone()).header(header::ACCEPT, media_type::ACCEPT_MANIFESTS)
        };
        let response = self.found(&action, self.send(&action, &url, &make).await?).await?;
        let declared = header_text(&response, "content-type").unwrap_or_default();
        let claimed = header_text(&response, "docker-content-digest");
        let bytes = self.body(response, MAX_MANIFEST, &action).await?;
        let digest = Digest::of(&bytes);
        let want = identifier.parse().ok().or_else(|| claimed.and_then(|text| text.parse().ok()));
        self.check(want.as_ref(), &digest)?;
        let media_type = self.media_type(&declared, &bytes)?;
        Ok((Descriptor::new(media_type, digest, bytes.len() as u64), bytes.into()))
    }

    /// A blob that is read into memory, such as a config.
    ///
    /// # Errors
    /// When the registry does not have it or sends something else, or it is not small.
    pub async fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        if blob.size > MAX_CONFIG {
            return Err(self.protocol(format!("{} has {} bytes, which is no config", blob.digest, blob.size)));
        }
        let mut stream = self.blob(blob).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }

    /// A blob as a stream that ends in an error when its bytes are not what was asked for.
    ///
    /// # Errors
    /// When the registry does not have it.
    pub async fn blob(
        &self,
        blob: &Descriptor,
    ) -> Result<BoxStream<'static, Result<Bytes, RegistryError>>, RegistryError> {
        let action = format!("pull {}", blob.digest);
        let response = self.follow(&action, &format!("blobs/{}", blob.digest)).await?;
        let state =
            Reading { repository: self.clone(), response, blob: blob.clone(), digester: Digester::default() };
        Ok(futures::stream::try_unfold(state, Reading::next).boxed())
    }

    /// A GET that goes where the registry keeps its blobs. Credentials stay here.
    async fn follow(&self, action: &str, path: &str) -> Result<Response, RegistryError> {
        let mut url = self.url(path).await?;
        for _ in 0..=MAX_REDIRECTS {
            let make = |http: &reqwest::Client| http.get(url.clone());
            let response = self.send(action, &url, &make).await?;
            if !response.status().is_redirection() {
                return self.found(action, response).await;
            }
            let next = self.location(&response)?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(self.protocol("it redirects from TLS to plain HTTP".into()));
            }
            url = next;
        }
        Err(self.protocol("it redirects too often".into()))
    }

    /// The `Location` of an answer, absolute.
    pub(super) fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let text = header_text(response, "location")
            .ok_or_else(|| self.protocol("an answer has no Location".into()))?;
        let url =
            response.url().join(&text).map_err(|_| self.protocol("an answer's Location is no URL".into()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            _ => Err(self.protocol("an answer's Location is not HTTP".into())),
        }
    }

    /// The response if it is a success; not being there is an error of its own.
    async fn found(&self, action: &str, response: Response) -> Result<Response, RegistryError> {
        match response.status() {
            StatusCode::NOT_FOUND => {
                let what = action.strip_prefix("pull ").unwrap_or(action).to_owned();
                let mut url = response.url().clone();
                url.set_query(None);
                Err(RegistryError::NotFound { host: self.host(), what, url: Some(url.into()) })
            }
            status if status.is_success() => Ok(response),
            _ => Err(self.refused(action, response).await),
        }
    }

    /// The type in the manifest counts; the header's is for those that have none inside.
    fn media_type(&self, declared: &str, bytes: &[u8]) -> Result<String, RegistryError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            schema_version: u32,
            #[serde(default)]
            media_type: Option<String>,
        }
        let typed: Typed = self.json(bytes, "manifest")?;
        let declared = declared.split(';').next().unwrap_or_default().trim().to_owned();
        let media_type = typed.media_type.unwrap_or(declared);
        let known = media_type::is_index(&media_type) || media_type::is_manifest(&media_type);
        if typed.schema_version != 2 || !known {
            return Err(self.protocol(format!("a manifest has the unknown type `{media_type}`")));
        }
        Ok(media_type)
    }

    fn check(&self, want: Option<&Digest>, got: &Digest) -> Result<(), RegistryError> {
        match want {
            Some(want) if want != got => {
                Err(RegistryError::Digest { host: self.host(), want: want.clone(), got: got.to_string() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        bytes: &[u8],
        what: &str,
    ) -> Result<T, RegistryError> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.protocol(format!("its {what} is not valid: {error}")))
    }
}

fn header_text(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// A blob on its way in.
struct Reading {
    repository: Repository,
    response: Response,
    blob: Descriptor,
    digester: Digester,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, RegistryError> {
        let stall = self.repository.client().options().stall;
        let chunk = tokio::time::timeout(stall, self.response.chunk())
            .await
            .map_err(|_| self.repository.stalled(&format!("pull {}", self.blob.digest)))?
            .map_err(|source| self.repository.unreachable(source))?;
        if let Some(chunk) = chunk {
            self.digester.update(&chunk);
            if self.digester.bytes() > self.blob.size {
                return Err(self.wrong(format!("more than {} bytes", self.blob.size)));
            }
            return Ok(Some((chunk, self)));
        }
        let (digest, bytes) = std::mem::take(&mut self.digester).finish();
        if digest != self.blob.digest {
            return Err(self.wrong(format!("{digest} ({bytes} bytes)")));
        }
        Ok(None)
    }

    fn wrong(&self, got: String) -> RegistryError {
        RegistryError::Digest { host: self.repository.host(), want: self.blob.digest.clone(), got }
    }
}
