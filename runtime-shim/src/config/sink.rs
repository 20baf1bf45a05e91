//! `K_SINK`: where results are posted to.

use http::{HeaderValue, Uri};

/// An address in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sink {
    /// Host name or address.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// `Host`.
    pub(crate) authority: HeaderValue,
    /// Path and query.
    pub(crate) path: String,
}

// === impl Sink ===

impl Sink {
    /// Reads a URL. Sinks of a cluster are plain HTTP; TLS is the business of its network.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a URL that begins with `http://`".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: HeaderValue::try_from(authority.as_str()).map_err(|_| wrong())?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let sink =
            Sink::parse("http://broker-ingress.knative-eventing.svc.cluster.local/ns/default?x=1").unwrap();
        assert_eq!((sink.port, sink.path.as_str()), (80, "/ns/default?x=1"));
        let bare = Sink::parse("http://[::1]:8080").unwrap();
        assert_eq!((bare.host.as_str(), bare.port, bare.path.as_str()), ("::1", 8080, "/"));
        for wrong in ["https://broker", "broker", "/path", "http://", "ftp://x"] {
            assert!(Sink::parse(wrong).is_err(), "{wrong}");
        }
    }
}
