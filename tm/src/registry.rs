//! Where an image goes: pushed to one name, referenced by another where the target says so.
//!
//! `HOST/NAMESPACE/SERVICE` with a registry host, `HOST/PROJECT-or-USER/SERVICE` with a registry secret, as the first tm
//! named them. Without either the target's own registry is used (KEP-1755's ConfigMap), else the old default.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tm_oci::Reference;
use tm_resources::{
    labels,
    target::{NAMESPACE, REGISTRY_HOSTING, REGISTRY_HOSTING_KEY, RegistryHosting},
};

use crate::{cli::Global, error::HintExt, target::Target};

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

/// Decides where the image of a service goes; `tag` must be one a registry takes.
pub(crate) async fn destination(
    global: &Global,
    target: &Target,
    service: &str,
    tag: &str,
) -> Result<Destination> {
    if let Some(secret) = &global.registry_secret {
        let (host, owner) = from_secret(target, secret, global.registry_host.as_deref()).await?;
        let name = format!("{host}/{owner}/{service}");
        return checked(&name, &name, tag, Some(secret.clone()));
    }
    let path = format!("{}/{service}", target.namespace);
    if let Some(host) = &global.registry_host {
        let name = format!("{host}/{path}");
        return checked(&name, &name, tag, None);
    }
    let hosting = hosting(target).await?;
    let push = format!("{}/{path}", hosting.push_host().unwrap_or(OLD_DEFAULT));
    let reference = format!("{}/{path}", hosting.reference_host().unwrap_or(OLD_DEFAULT));
    checked(&push, &reference, tag, None)
}

fn checked(push: &str, reference: &str, tag: &str, secret: Option<String>) -> Result<Destination> {
    let push = format!("{push}:{tag}");
    push.parse::<Reference>().with_context(|| format!("`{push}` is no image name")).hint(
        "check --registry-host, and the user or project of the registry secret: names are lower-case",
    )?;
    Ok(Destination { push, reference: reference.to_owned(), secret })
}

async fn hosting(target: &Target) -> Result<RegistryHosting> {
    let maps: Api<ConfigMap> = Api::namespaced(target.client.clone(), NAMESPACE);
    let map = match maps.get_opt(REGISTRY_HOSTING).await {
        Ok(map) => map,
        // Not everybody may read it on a cluster.
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => {
            return Err(anyhow::Error::new(error).context("failed to ask for the target's registry"));
        }
    };
    let text = map.and_then(|map| map.data?.remove(REGISTRY_HOSTING_KEY));
    match text {
        None => Ok(RegistryHosting::default()),
        Some(text) => serde_saphyr::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| format!("failed to read ConfigMap {NAMESPACE}/{REGISTRY_HOSTING}")),
    }
}

/// Host and first part of the name from a registry Secret.
async fn from_secret(target: &Target, name: &str, host: Option<&str>) -> Result<(String, String)> {
    let secrets: Api<Secret> = Api::namespaced(target.client.clone(), &target.namespace);
    let secret = secrets.get_opt(name).await.context("failed to read the registry secret")?;
    let secret = secret
        .with_context(|| format!("there is no secret `{name}` in namespace `{}`", target.namespace))
        .hint(format!("make it with `tm set registry-auth {name}`"))?;
    let data = secret.data.as_ref();
    let text =
        CONFIG_KEYS.iter().find_map(|key| data?.get(*key)).context("the secret is no registry secret")?;
    // The parser's own message could quote a password.
    let config: Value = serde_json::from_slice(&text.0)
        .map_err(|_| anyhow::anyhow!("the registry secret `{name}` does not hold a Docker config"))?;
    let auths = config.get("auths").and_then(Value::as_object).cloned().unwrap_or_default();
    let (found, entry) = match host {
        Some(host) => auths.iter().find(|(key, _)| bare(key) == host),
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

/// `host[:port]` of a key, which may be a URL.
fn bare(key: &str) -> String {
    let rest = key.trim_start_matches("https://").trim_start_matches("http://");
    rest.split('/').next().unwrap_or_default().to_owned()
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
        assert_eq!(bare("https://index.docker.io/v1/"), "index.docker.io");
        assert_eq!(bare("127.0.0.1:5000"), "127.0.0.1:5000");
    }

    #[test]
    fn upper_case_names_are_refused() {
        assert!(checked("h/User/a", "h/User/a", "t", None).is_err());
    }
}
