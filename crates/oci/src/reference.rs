//! Image references: `[host[:port]/]name[:tag][@digest]`, with Docker Hub as the default host.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::digest::Digest;

/// The registry that a reference without a host means.
pub const DOCKER_HUB: &str = "index.docker.io";
/// Where Docker Hub's API really is.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;

/// A parsed image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct InvalidReference {
    text: String,
    reason: &'static str,
}

// === impl Reference ===

impl Reference {
    /// The registry, `host[:port]`; [`DOCKER_HUB`] when none was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host that answers the API for this registry.
    pub fn api_host(&self) -> &str {
        api_host(&self.registry)
    }

    /// The repository inside the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` when neither a tag nor a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry for: the digest when there is one, else the tag.
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    /// `host/name` without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at `digest`, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Whether this registry is spoken to in plain HTTP (see [`is_plain_http`]).
    pub fn is_plain_http(&self) -> bool {
        is_plain_http(&self.registry)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let fail = |reason| InvalidReference { text: text.chars().take(300).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| fail("the digest is malformed"))?))
            }
            None => (text, None),
        };
        let (registry, rest) = split_registry(rest);
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("the tag is malformed"));
        }
        if !is_host(registry) {
            return Err(fail("the registry is malformed"));
        }
        let hub = registry == DOCKER_HUB;
        let repository = if hub && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.into()
        };
        if !is_repository(&repository) {
            return Err(fail("a name has lower-case letters, digits and single separators only"));
        }
        let tag = tag.or(digest.is_none().then_some(DEFAULT_TAG)).map(str::to_owned);
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a registry if it has a dot or a colon or is `localhost`; else everything is a name.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => match first {
            "docker.io" | "registry-1.docker.io" => (DOCKER_HUB, rest),
            _ => (first, rest),
        },
        _ => (DOCKER_HUB, text),
    }
}

/// The host that answers the API of `registry`.
pub fn api_host(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_API } else { registry }
}

/// Whether `text` is a legal tag.
pub fn is_tag(text: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && word(bytes[0])
        && bytes.iter().all(|&c| word(c) || c == b'.' || c == b'-')
}

/// Whether `text` is a legal repository name: components of `[a-z0-9]+` joined by `.`, `_`, `__` or hyphens.
pub fn is_repository(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let alnum = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|&c| alnum(c)) && bytes.last().is_some_and(|&c| alnum(c));
    ends && text
        .split(|c: char| c.is_ascii() && alnum(c as u8))
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|c| c == b'-'))
}

fn is_host(text: &str) -> bool {
    let (host, port) = split_port(text);
    let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok() && p.bytes().all(|c| c.is_ascii_digit()));
    let name_ok = |host: &str| {
        !host.is_empty()
            && host.len() <= 253
            && host.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            })
    };
    let bracketed = |host: &str| {
        host.strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok())
    };
    port_ok && (name_ok(host) || bracketed(host))
}

/// `host` and `port` of `host[:port]`; brackets of an IPv6 literal stay with the host.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.ends_with(']') {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

/// Whether a registry is spoken to in plain HTTP without being told so.
///
/// The rule of Knative's resolver and Tekton's controller (go-containerregistry), so that all parties agree:
/// `localhost`, loopback and RFC 1918 literals, and names that end in `.local` or `.localhost`.
pub fn is_plain_http(registry: &str) -> bool {
    let (host, _) = split_port(registry);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" || host.ends_with(".local") || host.ends_with(".localhost") {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback(),
        Err(_) => false,
    }
}

/// Whether a registry is on this very machine, so that no proxy may be used for it.
pub fn is_loopback(registry: &str) -> bool {
    let (host, _) = split_port(registry);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, Option<String>, bool) {
        let r: Reference = text.parse().unwrap();
        (r.registry.clone(), r.repository.clone(), r.tag.clone(), r.digest.is_some())
    }

    #[test]
    fn defaults_to_docker_hub() {
        assert_eq!(
            parts("python"),
            (DOCKER_HUB.into(), "library/python".into(), Some("latest".into()), false)
        );
        assert_eq!(parts("docker.io/me/x:1"), (DOCKER_HUB.into(), "me/x".into(), Some("1".into()), false));
        assert_eq!("python".parse::<Reference>().unwrap().api_host(), "registry-1.docker.io");
    }

    #[test]
    fn ports_tags_and_digests() {
        let digest = Digest::of(b"");
        assert_eq!(
            parts("127.0.0.1:3002/default/hello"),
            ("127.0.0.1:3002".into(), "default/hello".into(), Some("latest".into()), false)
        );
        let both: Reference = format!("tm.local/a/b:v1@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.identifier()), (Some("v1"), digest.as_str()));
        assert_eq!(both.to_string(), format!("tm.local/a/b:v1@{digest}"));
        assert_eq!(parts("[::1]:5000/x").0, "[::1]:5000");
        assert_eq!(parts("localhost/x").0, "localhost");
        assert_eq!(both.at_digest(digest.clone()).to_string(), format!("tm.local/a/b@{digest}"));
    }

    #[test]
    fn refuses_what_is_not_a_reference() {
        let long = format!("a.b/{}", "x".repeat(300));
        for text in [
            "",
            "UPPER",
            "a..b",
            "a//b",
            "/a",
            "a/",
            "x:",
            "x:-tag",
            "x@sha256:1",
            "h.io:99999/x",
            "-h.io/x",
            "a b",
            "h.io/a___b",
            "h.io/_a",
            "h.io/a-",
            "x:y:z",
            "h.io:/x",
            "h.io/../x",
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn separators_as_the_specification_says() {
        for good in ["a.b", "a_b", "a__b", "a-b", "a---b", "0/1/2"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["a._b", "a-.b", ".a", "A"] {
            assert!(!is_repository(bad), "{bad}");
        }
    }

    #[test]
    fn plain_http_follows_the_other_tools() {
        for host in [
            "localhost:5000",
            "127.0.0.1:3002",
            "10.1.2.3",
            "192.168.0.9:80",
            "tm.local",
            "[::1]:5",
            "a.localhost",
        ] {
            assert!(is_plain_http(host), "{host}");
        }
        for host in ["ghcr.io", "8.8.8.8:5000", "local", "tm.local.example.com", "index.docker.io"] {
            assert!(!is_plain_http(host), "{host}");
        }
    }
}
