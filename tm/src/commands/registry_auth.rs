//! `tm set registry-auth NAME`: a Secret for pushing and pulling, merged into what is there.

use std::{collections::BTreeMap, io::IsTerminal};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams},
};
use serde_json::{Map, Value, json};
use tm_resources::labels::tm::{FIELD_MANAGER, REGISTRY_PROJECT};

use super::{Session, prompt};
use crate::{
    cli::RegistryAuth,
    error::{HintExt, UsageError},
    settings::service_name,
    target::{Target, connect},
};

/// Key for pulling: what kubelets read.
const PULL_KEY: &str = ".dockerconfigjson";
/// Key for pushing: what builds read.
const PUSH_KEY: &str = "config.json";
/// Type of such a Secret.
const SECRET_TYPE: &str = "kubernetes.io/dockerconfigjson";
/// ServiceAccount whose pods may pull with it.
const ACCOUNT: &str = "default";

/// What goes into the Secret. No `Debug`: it holds a password.
struct Credentials {
    registry: String,
    username: String,
    password: String,
    project: Option<String>,
}

pub(super) async fn run(args: RegistryAuth, session: Session) -> Result<()> {
    let name = service_name(&args.name).context("the secret's name is refused")?;
    let (pull, push) = if args.pull || args.push { (args.pull, args.push) } else { (true, true) };
    let credentials = prompt::blocking(move || complete(args)).await?;
    let target = connect(&session.global, &session.printer).await?;
    let secrets: Api<Secret> = Api::namespaced(target.client.clone(), &target.namespace);
    let old = secrets.get_opt(&name).await.context("failed to read the secret")?.unwrap_or_default();
    let secret = merged(&name, &target.namespace, old, &credentials, pull, push)?;
    if session.global.dry {
        session.printer.note("nothing is sent; the secret is not shown");
        return Ok(());
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    secrets.patch(&name, &params, &Patch::Apply(&secret)).await.context("failed to write the secret")?;
    if pull {
        let_pods_pull(&target, &name).await?;
    }
    session.printer.note("Registry credentials set");
    Ok(())
}

/// Asks for what is missing, the password unseen.
fn complete(args: RegistryAuth) -> Result<Credentials> {
    let may_ask = std::io::stdin().is_terminal() && std::env::var("GITLAB_CI").as_deref() != Ok("true");
    let ask = |given: Option<String>, flag: &str, question: &str| -> Result<String> {
        match given.filter(|text| !text.is_empty()) {
            Some(text) => Ok(text),
            None if may_ask => Ok(dialoguer::Input::<String>::new().with_prompt(question).interact_text()?),
            None => Err(UsageError(format!("{flag} is missing and there is no terminal to ask")).into()),
        }
    };
    let registry = ask(args.registry, "--registry", "Registry")?;
    let username = ask(args.username, "--username", "Username")?;
    let password = match args.password {
        Some(password) => password,
        None if may_ask => prompt::secret("Password")?,
        None => {
            return Err(UsageError(
                "--password (or TM_PASSWORD) is missing and there is no terminal to ask".into(),
            )
            .into());
        }
    };
    if registry.contains(char::is_whitespace) || registry.is_empty() {
        return Err(UsageError(format!("`{registry}` is no registry")).into());
    }
    Ok(Credentials { registry: host(&registry), username, password, project: args.project })
}

/// The key registries are looked up by: bare `host[:port]`, but Docker Hub's own.
fn host(registry: &str) -> String {
    let rest = registry.trim_start_matches("https://").trim_start_matches("http://");
    let bare = rest.split('/').next().unwrap_or_default();
    match bare {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => "https://index.docker.io/v1/".into(),
        bare => bare.into(),
    }
}

/// The Secret with this registry added or replaced; other registries and keys stay.
fn merged(
    name: &str,
    namespace: &str,
    old: Secret,
    credentials: &Credentials,
    pull: bool,
    push: bool,
) -> Result<Secret> {
    let mut data = old.data.unwrap_or_default();
    let empty = ByteString(br#"{"auths":{}}"#.to_vec());
    // Kubernetes wants this key in a Secret of this type, also when it is for pushing only.
    data.entry(PULL_KEY.into()).or_insert_with(|| empty.clone());
    for (key, wanted) in [(PULL_KEY, pull), (PUSH_KEY, push)] {
        if wanted {
            let before = data.get(key).unwrap_or(&empty).clone();
            data.insert(key.into(), ByteString(with_entry(&before.0, credentials)?));
        }
    }
    let mut annotations = BTreeMap::new();
    let kept = old.metadata.annotations.unwrap_or_default().remove(REGISTRY_PROJECT);
    if let Some(project) = credentials.project.clone().or(kept) {
        annotations.insert(REGISTRY_PROJECT.to_owned(), project);
    }
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.into()),
        data: Some(data),
        ..Secret::default()
    })
}

fn with_entry(config: &[u8], credentials: &Credentials) -> Result<Vec<u8>> {
    // The parser's message could quote a password of the old config.
    let mut config: Map<String, Value> = serde_json::from_slice(config)
        .map_err(|_| anyhow::anyhow!("the secret holds something that is no Docker config"))
        .hint("delete the secret, or choose another name")?;
    let auth = STANDARD.encode(format!("{}:{}", credentials.username, credentials.password));
    let entry = json!({"username": credentials.username, "password": credentials.password, "auth": auth});
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    if let Some(auths) = auths.as_object_mut() {
        auths.insert(credentials.registry.clone(), entry);
    }
    Ok(serde_json::to_vec(&config)?)
}

/// Adds the Secret to what pods of the default ServiceAccount pull with; the others stay.
async fn let_pods_pull(target: &Target, secret: &str) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(target.client.clone(), &target.namespace);
    let account = accounts.get(ACCOUNT).await.context("failed to read the default ServiceAccount")?;
    let mut secrets = account.image_pull_secrets.unwrap_or_default();
    if secrets.iter().any(|known| known.name == secret) {
        return Ok(());
    }
    secrets.push(k8s_openapi::api::core::v1::LocalObjectReference { name: secret.into() });
    let patch = json!({
        "metadata": {"resourceVersion": account.metadata.resource_version},
        "imagePullSecrets": secrets,
    });
    accounts
        .patch(ACCOUNT, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .context("failed to change the default ServiceAccount")
        .hint("run the command again")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(registry: &str) -> Credentials {
        Credentials {
            registry: host(registry),
            username: "u".into(),
            password: "p\"w".into(),
            project: Some("team".into()),
        }
    }

    fn config(secret: &Secret, key: &str) -> Value {
        serde_json::from_slice(&secret.data.as_ref().expect("data")[key].0).expect("JSON")
    }

    #[test]
    fn other_registries_stay() {
        let first =
            merged("s", "default", Secret::default(), &credentials("a:5000"), true, true).expect("it merges");
        let both =
            merged("s", "default", first, &credentials("https://docker.io"), true, false).expect("it merges");
        let pull = config(&both, PULL_KEY);
        assert_eq!(pull["auths"]["a:5000"]["auth"], STANDARD.encode("u:p\"w"));
        assert_eq!(pull["auths"]["https://index.docker.io/v1/"]["username"], "u");
        assert!(config(&both, PUSH_KEY)["auths"]["https://index.docker.io/v1/"].is_null());
        assert_eq!(both.metadata.annotations.expect("annotations")[REGISTRY_PROJECT], "team");
    }

    #[test]
    fn push_only_keeps_the_key_kubernetes_wants() {
        let secret =
            merged("s", "default", Secret::default(), &credentials("a"), false, true).expect("it merges");
        assert_eq!(config(&secret, PULL_KEY), json!({"auths": {}}));
    }
}
