//! One repository: sends requests with our credentials, answers challenges, and tries again what may go better.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, StatusCode, header};
use reqwest::{RequestBuilder, Response, Url};

use super::{
    challenge::{self, Challenge},
    client::Client,
    error::{self, RegistryError},
    token,
};
use crate::{
    auth::Credentials,
    reference::{self, Reference},
};

const MAX_ERROR_BODY: usize = 64 * 1024;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What we want to do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// One name on one registry. Cheap to clone; clones share the token.
#[derive(Clone, Debug)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    registry: String,
    name: String,
    access: Access,
    credentials: Credentials,
    /// Where the credentials are from, for messages.
    file: Option<PathBuf>,
    /// Other repositories of this registry to read from, for mounts.
    siblings: Mutex<Vec<String>>,
    authorization: Mutex<Option<HeaderValue>>,
}

/// A request to be made afresh at each attempt.
pub(super) type Make<'a> = dyn Fn(&reqwest::Client) -> RequestBuilder + Send + Sync + 'a;

// === impl Repository ===

impl Repository {
    pub(super) fn new(
        client: Client,
        image: &Reference,
        access: Access,
        credentials: Credentials,
        file: Option<PathBuf>,
    ) -> Self {
        let inner = Inner {
            client,
            registry: image.registry().to_owned(),
            name: image.repository().to_owned(),
            access,
            credentials,
            file,
            siblings: Mutex::default(),
            authorization: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The registry.
    pub fn registry(&self) -> &str {
        &self.inner.registry
    }

    /// The name inside the registry.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Asks for the right to read `sibling` too, which mounting its blobs needs.
    pub fn also_read(&self, sibling: &str) {
        let mut siblings = lock(&self.inner.siblings);
        if sibling != self.inner.name && !siblings.iter().any(|have| have == sibling) {
            siblings.push(sibling.to_owned());
            *lock(&self.inner.authorization) = None;
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    pub(super) fn may_be_plain(&self) -> bool {
        reference::is_plain_http(&self.inner.registry) || self.client().options().insecure
    }

    pub(super) fn scopes(&self) -> Vec<String> {
        let rights = if self.inner.access == Access::Push { "pull,push" } else { "pull" };
        let siblings = lock(&self.inner.siblings).clone();
        let own = format!("repository:{}:{rights}", self.inner.name);
        std::iter::once(own).chain(siblings.iter().map(|name| format!("repository:{name}:pull"))).collect()
    }

    /// The URL of something in this repository, such as `blobs/sha256:…`.
    pub(super) async fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let base = self.client().base(&self.inner.registry).await?;
        base.join(&format!("{}/{path}", self.inner.name))
            .map_err(|error| self.protocol(format!("no URL can be made of {path}: {error}")))
    }

    /// Sends a request without a body worth mentioning, as often as it takes and is allowed.
    pub(super) async fn send(
        &self,
        action: &str,
        url: &Url,
        make: &Make<'_>,
    ) -> Result<Response, RegistryError> {
        let attempts = self.client().options().attempts.max(1);
        let mut attempt = 1;
        loop {
            let (error, pause) = match self.send_once(action, url, make, &Progressing::default()).await {
                Ok(response) if is_transient(response.status()) => {
                    let pause = retry_after(&response);
                    (self.refused(action, response).await, pause)
                }
                Ok(response) => return Ok(response),
                Err(error) => (error, None),
            };
            if attempt >= attempts || !error.is_transient() {
                return Err(error);
            }
            tokio::time::sleep(pause.unwrap_or_else(|| backoff(attempt))).await;
            attempt += 1;
        }
    }

    /// Sends a request once, or twice when the registry wants to know who we are.
    pub(super) async fn send_once(
        &self,
        action: &str,
        url: &Url,
        make: &Make<'_>,
        progress: &Progressing,
    ) -> Result<Response, RegistryError> {
        let ours = self.is_ours(url).await?;
        let http = self.client().http(url)?;
        let mut known = lock(&self.inner.authorization).clone().filter(|_| ours);
        let mut asked = false;
        loop {
            let mut request = make(http);
            if let Some(value) = &known {
                request = request.header(header::AUTHORIZATION, value.clone());
            }
            let response = self.moving(action, request, progress).await?;
            if response.status() != StatusCode::UNAUTHORIZED || !ours {
                return Ok(response);
            }
            let challenge = challenge::parse(response.headers());
            if asked {
                return Err(self.unauthorized(action, challenge.as_ref()));
            }
            let Some(challenge) = challenge else { return Err(self.unauthorized(action, None)) };
            let value = token::answer(self, &challenge).await?;
            *lock(&self.inner.authorization) = Some(value.clone());
            known = Some(value);
            asked = true;
        }
    }

    /// Sends a request that needs no credentials of the repository's; it may stall only so long.
    pub(super) async fn bounded(
        &self,
        action: &str,
        request: RequestBuilder,
    ) -> Result<Response, RegistryError> {
        self.moving(action, request, &Progressing::default()).await
    }

    /// Waits for an answer as long as something moves.
    async fn moving(
        &self,
        action: &str,
        request: RequestBuilder,
        progress: &Progressing,
    ) -> Result<Response, RegistryError> {
        let stall = self.client().options().stall;
        tokio::select! {
            answer = request.send() => answer.map_err(|source| self.unreachable(source)),
            () = progress.stalled(stall) => Err(self.stalled(action)),
        }
    }

    /// Whether our credentials may go there: same scheme, host and port as the API.
    async fn is_ours(&self, url: &Url) -> Result<bool, RegistryError> {
        Ok(self.client().base(&self.inner.registry).await?.origin() == url.origin())
    }

    /// A body of bounded length.
    pub(super) async fn body(
        &self,
        mut response: Response,
        limit: usize,
        action: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let stall = self.client().options().stall;
        let mut body = Vec::new();
        loop {
            let chunk =
                tokio::time::timeout(stall, response.chunk()).await.map_err(|_| self.stalled(action))?;
            match chunk.map_err(|source| self.unreachable(source))? {
                Some(chunk) if body.len() + chunk.len() > limit => {
                    return Err(self.protocol(format!("an answer is longer than {limit} bytes")));
                }
                Some(chunk) => body.extend_from_slice(&chunk),
                None => return Ok(body),
            }
        }
    }

    /// The error that an unwelcome answer means.
    pub(super) async fn refused(&self, action: &str, response: Response) -> RegistryError {
        let status = response.status();
        let body = self.body(response, MAX_ERROR_BODY, action).await.unwrap_or_default();
        let (host, action, message) = (self.host(), action.to_owned(), error::message_of(&body));
        match status {
            StatusCode::FORBIDDEN => RegistryError::Denied { host, action, message },
            StatusCode::UNAUTHORIZED => self.unauthorized(&action, None),
            _ => RegistryError::Refused { host, action, status: status.as_u16(), message },
        }
    }

    fn unauthorized(&self, action: &str, challenge: Option<&Challenge>) -> RegistryError {
        let (host, action) = (self.host(), action.to_owned());
        match (&self.inner.credentials, challenge) {
            (Credentials::Anonymous, _) => self.no_credentials(),
            // The token server knew us: what is missing is the right.
            (_, Some(Challenge::Bearer { .. })) => {
                RegistryError::Denied { host, action, message: String::new() }
            }
            _ => self.wrong_credentials(),
        }
    }

    pub(super) fn no_credentials(&self) -> RegistryError {
        RegistryError::NoCredentials { host: self.host() }
    }

    pub(super) fn wrong_credentials(&self) -> RegistryError {
        match self.inner.credentials {
            Credentials::Anonymous => self.no_credentials(),
            _ => RegistryError::WrongCredentials { host: self.host(), file: self.inner.file.clone() },
        }
    }

    pub(super) fn protocol(&self, problem: String) -> RegistryError {
        RegistryError::Protocol { host: self.host(), problem }
    }

    pub(super) fn stalled(&self, action: &str) -> RegistryError {
        let waited = self.client().options().stall;
        RegistryError::Stalled { host: self.host(), action: action.to_owned(), waited }
    }

    /// The URL is taken out of the error: it may carry what a storage server takes for a password.
    pub(super) fn unreachable(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Unreachable { host: self.host(), source: source.without_url() }
    }

    pub(super) fn host(&self) -> String {
        self.inner.registry.clone()
    }
}

/// Counts bytes that went out, so that a slow upload is told from a dead one.
#[derive(Clone, Debug, Default)]
pub(super) struct Progressing(Arc<AtomicU64>);

impl Progressing {
    pub(super) fn add(&self, bytes: u64) -> u64 {
        self.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Resolves when nothing moved for `limit`.
    async fn stalled(&self, limit: Duration) {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(limit).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// A quarter of a second, doubled each time.
pub(super) fn backoff(attempt: u32) -> Duration {
    (Duration::from_millis(250) * 2u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_PAUSE)
}

/// What the registry asks for, in seconds, up to a bound of ours.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs).map(|pause| pause.min(LONGEST_PAUSE))
}
