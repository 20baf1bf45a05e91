//! Where an image goes: pushed to one name, referenced by another where the target says so.
//!
//! `HOST/NAMESPACE/SERVICE` with a registry host, `HOST/PROJECT-or-USER/SERVICE` with a registry secret, as the first tm
//! named them. Without either the target's own registry is used (what `tm setup` wrote down, else KEP-1755's ConfigMap), else
//! the old default.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::Value;
use tm_oci::{
    Reference,
    auth::{DockerConfig, Keychain},
    reference::is_loopback,
};
use tm_resources::{
    labels,
    target::{NAMESPACE, REGISTRY_HOST, REGISTRY_HOSTING, RegistryHosting},
};

use crate::{
    cli::Global,
    error::{HintExt, UsageError},
    target::{Target, published},
};

/// The first tm's registry, a Service of the cluster.
const OLD_DEFAULT: &str = "knative.registry.svc.cluster.local";
/// Keys of a registry Secret: for pushing, for pulling.
const CONFIG_KEYS: [&str; 2] = ["config.json", ".dockerconfigjson"];

/// Names of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// `host/path/name:tag` that the build pushes to.
    pub(crate) push: String,
    /// `host/path/name` that the Service refers to.
    pub(crate) reference: String,
    /// Secret with the credentials.
    pub(crate) secret: Option<String>,
}

/// A registry by the names it has: one and the same for everybody, unless the target says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From the user's machine.
    pub(crate) here: String,
    /// From pods, which push.
    pub(crate) pods: String,
    /// From nodes, which pull: what a Service refers to.
    pub(crate) nodes: String,
    /// Project or user, the first part of names there; the namespace is when there is none.
    pub(crate) owner: Option<String>,
    /// Secret with the credentials.
    pub(crate) secret: Option<String>,
}

/// Decides where the image of a service goes; `tag` must be one a registry takes.
pub(crate) async fn destination(
    global: &Global,
    target: &Target,
    service: &str,
    tag: &str,
) -> Result<Destination> {
    let place = place(global, target).await?;
    let path = format!("{}/{service}", place.owner.as_deref().unwrap_or(&target.namespace));
    checked(&format!("{}/{path}", place.pods), &format!("{}/{path}", place.nodes), tag, place.secret)
}

/// What GitLab's CI calls a project's images, `HOST/GROUP/PROJECT`; nothing elsewhere.
fn gitlab_images() -> Option<String> {
    std::env::var("GITLAB_CI").ok().filter(|ci| ci == "true")?;
    std::env::var("CI_REGISTRY_IMAGE").ok()
}

/// The first part of names on `host` in GitLab's CI, where the first tm put images, too: the project's own.
fn gitlab_owner(images: &str, host: &str) -> Option<String> {
    images
        .split_once('/')
        .filter(|(of, path)| *of == host && !path.is_empty())
        .map(|(_, path)| path.to_owned())
}

/// The registry: the secret's, `--registry-host`, tm's own setting, KEP-1755's, the old default.
pub(crate) async fn place(global: &Global, target: &Target) -> Result<Place> {
    if let Some(secret) = &global.registry_secret {
        let (host, owner) = from_secret(target, secret, global.registry_host.as_deref()).await?;
        let owner = gitlab_images().and_then(|images| gitlab_owner(&images, &host)).unwrap_or(owner);
        return Ok(Place { owner: Some(owner), secret: Some(secret.clone()), ..Place::everywhere(host) });
    }
    let configured = match &global.registry_host {
        Some(host) => Some(host.clone()),
        None => published::settings(&target.client).await?.remove(REGISTRY_HOST),
    };
    if let Some(host) = configured {
        return Ok(Place::everywhere(host));
    }
    hosted(&published::registry_hosting(&target.client).await?)
}

/// The registry of KEP-1755's ConfigMap. It has to have a name that pods can use: in one of their own `localhost` is the pod.
fn hosted(hosting: &RegistryHosting) -> Result<Place> {
    if let (None, Some(host)) = (&hosting.host_from_cluster_network, &hosting.host)
        && is_loopback(host)
    {
        let text = format!(
            "the target's registry is `{host}` on your machine, and pods, which push to it, have no name for it: ConfigMap \
             {NAMESPACE}/{REGISTRY_HOSTING} lacks hostFromClusterNetwork"
        );
        return Err(anyhow::anyhow!(text)).hint(
            "have it say what pods call the registry (on kind `kind-registry:5000`, docs/cluster.md), or name one that all can \
             reach with --registry-host, for everybody with `tm setup --registry-host`",
        );
    }
    let or_old = |host: Option<&str>| host.unwrap_or(OLD_DEFAULT).to_owned();
    Ok(Place {
        here: or_old(hosting.host.as_deref().or(hosting.push_host())),
        pods: or_old(hosting.push_host()),
        nodes: or_old(hosting.reference_host()),
        owner: None,
        secret: None,
    })
}

// === impl Destination ===

impl Destination {
    /// The image that the user names, `[HOST/]PATH[:TAG]`, pushed to and referred to by the same name.
    ///
    /// # Errors
    /// When it is no image name, or one with a digest, which nobody knows before the build.
    pub(crate) fn renamed(self, image: &str) -> Result<Self> {
        let parsed =
            image.parse::<Reference>().with_context(|| format!("IMAGE `{image}` is no image name"))?;
        if parsed.digest().is_some() {
            return Err(UsageError(format!("IMAGE `{image}` must not have a digest")).into());
        }
        let tag = parsed.tag().unwrap_or("latest");
        checked(&parsed.name(), &parsed.name(), tag, self.secret)
    }
}

// === impl Place ===

impl Place {
    fn everywhere(host: String) -> Self {
        Self { here: host.clone(), pods: host.clone(), nodes: host, owner: None, secret: None }
    }
}

fn checked(push: &str, reference: &str, tag: &str, secret: Option<String>) -> Result<Destination> {
    let push = format!("{push}:{tag}");
    push.parse::<Reference>().with_context(|| format!("`{push}` is no image name")).hint(
        "check --registry-host, and the user or project of the registry secret: names are lower-case",
    )?;
    Ok(Destination { push, reference: reference.to_owned(), secret })
}

/// Host and first part of the name from a registry Secret.
async fn from_secret(target: &Target, name: &str, host: Option<&str>) -> Result<(String, String)> {
    let secret = read_secret(target, name).await?;
    let not_one = || anyhow::anyhow!("the registry secret `{name}` does not hold a Docker config");
    // The parser's own message could quote a password.
    let config: Value =
        serde_json::from_slice(config_of(&secret).ok_or_else(not_one)?).map_err(|_| not_one())?;
    let auths = config.get("auths").and_then(Value::as_object).cloned().unwrap_or_default();
    let (found, entry) = match host {
        Some(host) => auths.iter().find(|(key, _)| bare(key) == bare(host)),
        None if auths.len() == 1 => auths.iter().next(),
        None => bail!(
            "the registry secret `{name}` names {} registries; choose one with --registry-host",
            auths.len()
        ),
    }
    .with_context(|| {
        format!("the registry secret `{name}` has no entry for `{}`", host.unwrap_or_default())
    })?;
    let annotated = secret.annotations().get(labels::tm::REGISTRY_PROJECT).cloned();
    let member = config.get("project").and_then(Value::as_str).filter(|project| !project.is_empty());
    let owner = annotated.or_else(|| member.map(str::to_owned)).or_else(|| user_of(entry));
    let owner =
        owner.with_context(|| format!("the registry secret `{name}` names neither a user nor a project"))?;
    Ok((bare(found), owner))
}

/// The credentials of a registry Secret, for pushing from here.
pub(crate) async fn keychain(target: &Target, name: &str) -> Result<Keychain> {
    let secret = read_secret(target, name).await?;
    let config = config_of(&secret).and_then(|text| DockerConfig::parse(text).ok());
    let config =
        config.with_context(|| format!("the registry secret `{name}` does not hold a Docker config"))?;
    Ok(Keychain::of_configs([config]))
}

async fn read_secret(target: &Target, name: &str) -> Result<Secret> {
    let secrets: Api<Secret> = Api::namespaced(target.client.clone(), &target.namespace);
    let secret = secrets.get_opt(name).await.context("failed to read the registry secret")?;
    secret
        .with_context(|| format!("there is no secret `{name}` in namespace `{}`", target.namespace))
        .hint(format!("make it with `tm set registry-auth {name}`"))
}

fn config_of(secret: &Secret) -> Option<&[u8]> {
    let data = secret.data.as_ref()?;
    CONFIG_KEYS.iter().find_map(|key| data.get(*key)).map(|text| text.0.as_slice())
}

/// `host[:port]` of a key, which may be a URL. Docker Hub has one name here, although Docker keeps its credentials under another.
fn bare(key: &str) -> String {
    let rest = key.trim_start_matches("https://").trim_start_matches("http://");
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".into(),
        host => host.into(),
    }
}

fn user_of(entry: &Value) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    if let Some(user) = entry.get("username").and_then(Value::as_str).filter(|user| !user.is_empty()) {
        return Some(user.to_owned());
    }
    let decoded = STANDARD.decode(entry.get("auth")?.as_str()?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, _)| user.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn users_and_hosts() {
        assert_eq!(user_of(&json!({"username": "u"})).as_deref(), Some("u"));
        assert_eq!(user_of(&json!({"auth": "dTpwOnE="})).as_deref(), Some("u"));
        assert_eq!(user_of(&json!({})), None);
        for hub in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"] {
            assert_eq!(bare(hub), "docker.io");
        }
        assert_eq!(bare("127.0.0.1:5000"), "127.0.0.1:5000");
    }

    #[test]
    fn images_of_the_users_own() {
        let destination =
            checked("127.0.0.1:1/ns/a", "tm.local/ns/a", "t", Some("s".into())).expect("it is sound");
        let renamed = |image| destination.clone().renamed(image);
        let theirs = renamed("r.example.com:5000/team/a:1").expect("it is an image");
        assert_eq!(theirs.push, "r.example.com:5000/team/a:1");
        assert_eq!(theirs.reference, "r.example.com:5000/team/a");
        assert_eq!(theirs.secret.as_deref(), Some("s"));
        assert_eq!(renamed("r.example.com/a").expect("it is an image").push, "r.example.com/a:latest");
        let digest = format!("r.example.com/a@sha256:{}", "0".repeat(64));
        assert!(renamed(&digest).is_err() && renamed("A b").is_err());
    }

    #[test]
    fn a_registry_that_pods_cannot_reach() {
        let hosting = |host: &str, pods: Option<&str>| RegistryHosting {
            host: Some(host.into()),
            host_from_cluster_network: pods.map(str::to_owned),
            ..RegistryHosting::default()
        };
        for host in ["localhost:5001", "127.0.0.1:5001", "[::1]:5001"] {
            let error = hosted(&hosting(host, None)).expect_err("it is the user's machine only");
            assert!(error.to_string().contains("hostFromClusterNetwork"), "{error}");
        }
        let kind =
            hosted(&hosting("localhost:5001", Some("kind-registry:5000"))).expect("pods have a name for it");
        let names = [&kind.here, &kind.pods, &kind.nodes].map(String::as_str);
        assert_eq!(names, ["localhost:5001", "kind-registry:5000", "localhost:5001"]);
        assert_eq!(hosted(&hosting("r.example.com", None)).expect("it is for all").pods, "r.example.com");
        let none = hosted(&RegistryHosting::default()).expect("there is a default");
        assert_eq!(none.pods, OLD_DEFAULT);
    }

    #[test]
    fn projects_of_gitlab() {
        let images = "registry.example.com/group/project";
        assert_eq!(gitlab_owner(images, "registry.example.com").as_deref(), Some("group/project"));
        assert_eq!(gitlab_owner(images, "ghcr.io"), None, "the secret is another registry's");
        assert_eq!(gitlab_owner("registry.example.com/", "registry.example.com"), None);
    }

    #[test]
    fn upper_case_names_are_refused() {
        assert!(checked("h/User/a", "h/User/a", "t", None).is_err());
    }
}
