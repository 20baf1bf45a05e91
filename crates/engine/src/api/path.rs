//! Request paths, parsed into what they mean before anything is done.

use percent_encoding::percent_decode_str;

use super::{
    catalog::{self, Resource},
    review::{self, Review},
};

/// What a path asks for.
#[derive(Debug)]
pub(crate) enum Target {
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    GroupVersion(String, String),
    /// `/openapi/v2`, `/openapi/v3`, `/openapi/v3/...`.
    OpenApi(String),
    /// Objects that are only ever created, and not kept.
    Review(&'static Review),
    /// Objects of a served kind.
    Objects(ObjectPath),
}

/// A path of objects.
#[derive(Debug)]
pub(crate) struct ObjectPath {
    pub(crate) resource: &'static Resource,
    /// `None` is all namespaces (or no namespace, for kinds that have none).
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

// === impl Target ===

impl Target {
    /// Parses a path; `None` when nothing is served there.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).decode_utf8().ok().map(|s| s.into_owned()))
            .collect::<Option<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Some(Self::Health),
            ["version"] => Some(Self::Version),
            ["openapi", rest @ ..] => Some(Self::OpenApi(rest.join("/"))),
            ["api"] => Some(Self::CoreVersions),
            ["api", version] => Some(Self::GroupVersion(String::new(), (*version).to_owned())),
            ["api", version, rest @ ..] => objects("", version, rest),
            ["apis"] => Some(Self::Groups),
            ["apis", group] => Some(Self::Group((*group).to_owned())),
            ["apis", group, version] => Some(Self::GroupVersion((*group).to_owned(), (*version).to_owned())),
            ["apis", group, version, plural] if review::find(group, version, plural).is_some() => {
                review::find(group, version, plural).map(Self::Review)
            }
            ["apis", group, version, rest @ ..] => objects(group, version, rest),
            _ => None,
        }
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let (namespace, rest) = match rest {
        // The namespace itself, its status, and the objects in it share a prefix.
        ["namespaces", _name, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (Some(*namespace), inner),
        other => (None, other),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, subresource] => (plural, Some(*name), Some(*subresource)),
        _ => return None,
    };
    let resource = catalog::find(group, version, plural)?;
    let placed = match (resource.namespaced, namespace, name) {
        (true, None, Some(_)) | (false, Some(_), _) => false,
        (true, ..) | (false, None, _) => true,
    };
    let known = subresource.is_none_or(|s| resource.subresources.contains(&s));
    (placed && known).then(|| {
        Target::Objects(ObjectPath {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    })
}
