//! The HTTP client: TLS or not, proxies or not, and which of the two schemes a registry speaks.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    error::RegistryError,
    repository::{Access, Repository},
};
use crate::{
    auth::Keychain,
    reference::{self, Reference},
};

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where credentials are.
    pub keychain: Keychain,
    /// Accept any certificate, and plain HTTP where there is no TLS, for every registry.
    pub insecure: bool,
    /// PEM files of authorities to trust besides the system's.
    pub authorities: Vec<PathBuf>,
    /// How long nothing may move before a request fails.
    pub stall: Duration,
    /// How often something is tried that may go better the next time.
    pub attempts: u32,
}

/// A client of any number of registries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ClientOptions,
    /// For plain HTTP: made without reading the system's certificates.
    plain: OnceLock<reqwest::Client>,
    tls: OnceLock<reqwest::Client>,
    /// Scheme of each registry that was asked.
    schemes: Mutex<HashMap<String, &'static str>>,
}

// === impl ClientOptions ===

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            keychain: Keychain::default(),
            insecure: false,
            authorities: Vec::new(),
            stall: Duration::from_secs(60),
            attempts: 4,
        }
    }
}

// === impl Client ===

impl Client {
    /// A client with these options. Nothing is connected yet.
    pub fn new(options: ClientOptions) -> Self {
        // Somebody may have installed a provider already; any one will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let inner =
            Inner { options, plain: OnceLock::new(), tls: OnceLock::new(), schemes: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The repository of `image`, to be used with `access`.
    ///
    /// # Errors
    /// When credentials for it cannot be read.
    pub fn repository(&self, image: &Reference, access: Access) -> Result<Repository, RegistryError> {
        let (credentials, file) = self.options().keychain.lookup(image)?;
        Ok(Repository::new(self.clone(), image, access, credentials, file))
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// The HTTP client for a URL.
    pub(super) fn http(&self, url: &reqwest::Url) -> Result<&reqwest::Client, RegistryError> {
        let slot = if url.scheme() == "https" { &self.inner.tls } else { &self.inner.plain };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build(self.options(), url.scheme() == "https")?;
        Ok(slot.get_or_init(|| client))
    }

    /// `scheme://host/` of a registry's API. A registry that may be plain HTTP is asked once which it speaks.
    pub(super) async fn base(&self, registry: &str) -> Result<reqwest::Url, RegistryError> {
        let known = self.schemes().get(registry).copied();
        let scheme = match known {
            Some(scheme) => scheme,
            None => {
                let scheme = self.probe(registry).await?;
                self.schemes().insert(registry.to_owned(), scheme);
                scheme
            }
        };
        url(scheme, registry)
    }

    fn schemes(&self) -> std::sync::MutexGuard<'_, HashMap<String, &'static str>> {
        self.inner.schemes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn probe(&self, registry: &str) -> Result<&'static str, RegistryError> {
        let order = match (reference::is_plain_http(registry), self.options().insecure) {
            (true, _) => ["http", "https"],
            (false, true) => ["https", "http"],
            (false, false) => return Ok("https"),
        };
        for scheme in order {
            match self.status(scheme, registry).await? {
                Some(200..=299 | 401 | 403) => return Ok(scheme),
                // What a TLS server says to plain HTTP: whatever is wrong with it, TLS is what it speaks.
                Some(400) if scheme == "http" => return Ok("https"),
                _ => {}
            }
        }
        Ok(order[0])
    }

    /// What the API's base answers; nothing when nobody does.
    async fn status(&self, scheme: &str, registry: &str) -> Result<Option<u16>, RegistryError> {
        let url = url(scheme, registry)?;
        let request = self.http(&url)?.get(url).timeout(Duration::from_secs(10));
        Ok(request.send().await.ok().map(|response| response.status().as_u16()))
    }
}

fn url(scheme: &str, registry: &str) -> Result<reqwest::Url, RegistryError> {
    let text = format!("{scheme}://{}/v2/", reference::api_host(registry));
    reqwest::Url::parse(&text).map_err(|error| RegistryError::Protocol {
        host: registry.to_owned(),
        problem: format!("its name makes no URL: {error}"),
    })
}

fn build(options: &ClientOptions, tls: bool) -> Result<reqwest::Client, RegistryError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("tm/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10));
    if tls {
        builder = builder.tls_certs_merge(authorities(options)?);
        builder = builder.tls_danger_accept_invalid_certs(options.insecure);
    } else {
        // Plain HTTP is for registries nearby: no proxy in between, and no certificates to be read.
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build().map_err(RegistryError::Setup)
}

fn authorities(options: &ClientOptions) -> Result<Vec<reqwest::Certificate>, RegistryError> {
    let mut all = Vec::new();
    for path in &options.authorities {
        let failed = |source| RegistryError::Certificates { path: path.clone(), source };
        let pem = fs_err::read(path).map_err(failed)?;
        all.extend(
            reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| failed(std::io::Error::other(error)))?,
        );
    }
    Ok(all)
}
