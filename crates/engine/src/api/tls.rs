//! TLS on loopback: kubectl sends tokens over TLS only.
//!
//! A certificate authority is made for one server certificate and then forgotten; the kubeconfig entry carries its
//! certificate. Near the end of its life everything is made anew.

use std::{io, path::Path, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use super::auth::write_private;

mod stream;

pub use stream::{TlsListener, TlsStream};

/// Name of the file in the state directory.
const FILE: &str = "tls.json";
/// How long a certificate is good for.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before its end it is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Clocks differ; a certificate is good a little before it is made.
const BACKDATE: Duration = Duration::from_secs(3600);

/// The server's certificate and key, and the authority that vouches for them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    authority: String,
    certificate: String,
    key: String,
    /// Seconds since 1970.
    expires: i64,
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read or written.
    #[error("cannot keep the TLS identity")]
    Io(#[from] io::Error),
    /// No certificate can be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("cannot use the certificate")]
    Use(#[from] rustls::Error),
    /// The file is damaged.
    #[error("the TLS identity is damaged: {0}")]
    Damaged(String),
}

// === impl Identity ===

impl Identity {
    /// The identity of a state directory; made when there is none, when it is damaged, and when it is about to expire.
    ///
    /// # Errors
    /// [`TlsError`] when it cannot be kept or made.
    pub fn load_or_make(state_dir: &Path) -> Result<Self, TlsError> {
        let path = state_dir.join(FILE);
        let now = jiff::Timestamp::now();
        let kept = match fs_err::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Self>(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(kept) = kept.filter(|kept| kept.is_good_at(now) && kept.server_config().is_ok()) {
            return Ok(kept);
        }
        let made = Self::make(now)?;
        let text = serde_json::to_vec(&made).map_err(|e| TlsError::Damaged(e.to_string()))?;
        write_private(&path, &text)?;
        Ok(made)
    }

    fn is_good_at(&self, now: jiff::Timestamp) -> bool {
        let left = self.expires - now.as_second();
        left > i64::try_from(RENEW_BEFORE.as_secs()).unwrap_or(i64::MAX)
    }

    fn make(now: jiff::Timestamp) -> Result<Self, TlsError> {
        let authority_key = KeyPair::generate()?;
        let mut authority = params("tm local authority", now, Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::from_params(&authority, authority_key);
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let mut server = params("tm local API", now, names)?;
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = server.signed_by(&key, &issuer)?;
        let lifetime = i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX);
        Ok(Self {
            authority: authority_certificate.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            expires: now.as_second() + lifetime,
        })
    }

    /// The authority's certificate (PEM): what clients check the server against.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What a TLS server needs.
    ///
    /// # Errors
    /// [`TlsError::Damaged`] and [`TlsError::Use`] when the kept identity is not usable.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let damaged = |error: rustls::pki_types::pem::Error| TlsError::Damaged(error.to_string());
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(damaged)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(damaged)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("expires", &self.expires).finish_non_exhaustive()
    }
}

fn params(name: &str, now: jiff::Timestamp, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let at = std::time::SystemTime::from(now);
    params.not_before = (at - BACKDATE).into();
    params.not_after = (at + LIFETIME).into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_until_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_make(dir.path()).unwrap();
        let again = Identity::load_or_make(dir.path()).unwrap();
        assert_eq!(first.certificate, again.certificate);
        let old = Identity { expires: jiff::Timestamp::now().as_second() + 60, ..first.clone() };
        fs_err::write(dir.path().join(FILE), serde_json::to_vec(&old).unwrap()).unwrap();
        assert_ne!(Identity::load_or_make(dir.path()).unwrap().certificate, first.certificate);
        fs_err::write(dir.path().join(FILE), b"garbage").unwrap();
        Identity::load_or_make(dir.path()).unwrap();
    }

    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_make(dir.path()).unwrap();
        let mode = fs_err::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
