//! Request paths as an enum. Names may contain `blobs`, `manifests` and `tags` themselves, so they are read from the end.

use tm_oci::{Digest, reference};

use super::problem::{Code, Problem};

/// What a path below `/v2/` means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Base,
    Catalog,
    Tags { name: String },
    Manifest { name: String, identifier: Identifier },
    Blob { name: String, digest: Digest },
    Uploads { name: String },
    Upload { name: String, id: String },
}

/// A tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identifier {
    Tag(String),
    Digest(Digest),
}

// === impl Target ===

impl Target {
    /// Reads a request path.
    pub(super) fn parse(path: &str) -> Result<Self, Problem> {
        let Some(rest) = path.strip_prefix("/v2") else { return Err(not_found()) };
        match rest {
            "" | "/" => return Ok(Self::Base),
            "/_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        let rest = rest.strip_prefix('/').ok_or_else(not_found)?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags { name: valid(name)? });
        }
        if let Some(name) =
            rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads { name: valid(name)? });
        }
        let (head, last) = rest.rsplit_once('/').ok_or_else(not_found)?;
        if let Some(name) = head.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload { name: valid(name)?, id: last.to_owned() });
        }
        if let Some(name) = head.strip_suffix("/blobs") {
            return Ok(Self::Blob { name: valid(name)?, digest: digest(last)? });
        }
        if let Some(name) = head.strip_suffix("/manifests") {
            return Ok(Self::Manifest { name: valid(name)?, identifier: identifier(last)? });
        }
        Err(not_found())
    }
}

fn not_found() -> Problem {
    Problem::new(Code::Unsupported, "there is nothing at this path").with_status(http::StatusCode::NOT_FOUND)
}

fn valid(name: &str) -> Result<String, Problem> {
    if reference::is_repository(name) {
        Ok(name.to_owned())
    } else {
        Err(Problem::new(Code::NameInvalid, "the repository name is malformed"))
    }
}

/// A digest out of a path or a query.
pub(super) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|_| Problem::new(Code::DigestInvalid, "want sha256: and 64 lower-case hex digits"))
}

fn identifier(text: &str) -> Result<Identifier, Problem> {
    if text.contains(':') {
        return digest(text).map(Identifier::Digest);
    }
    if reference::is_tag(text) {
        return Ok(Identifier::Tag(text.to_owned()));
    }
    Err(Problem::new(Code::ManifestUnknown, "the tag is malformed"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_may_look_like_paths() {
        let digest = Digest::of(b"");
        assert_eq!(Target::parse("/v2/").unwrap(), Target::Base);
        assert_eq!(Target::parse("/v2").unwrap(), Target::Base);
        assert_eq!(
            Target::parse("/v2/a/manifests/manifests/blobs").unwrap(),
            Target::Manifest { name: "a/manifests".into(), identifier: Identifier::Tag("blobs".into()) }
        );
        assert_eq!(
            Target::parse(&format!("/v2/blobs/blobs/{digest}")).unwrap(),
            Target::Blob { name: "blobs".into(), digest }
        );
        assert_eq!(Target::parse("/v2/a/blobs/uploads/").unwrap(), Target::Uploads { name: "a".into() });
        assert_eq!(
            Target::parse("/v2/a/blobs/uploads/x").unwrap(),
            Target::Upload { name: "a".into(), id: "x".into() }
        );
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for path in [
            "/",
            "/v1/",
            "/v2/a",
            "/v2/../etc/blobs/x",
            "/v2/A/tags/list",
            "/v2/a/blobs/sha256:1",
            "/v2//tags/list",
        ] {
            assert!(Target::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/v2)?/[a-z./:_]{0,40}") {
            let _ = Target::parse(&path);
        }
    }
}
