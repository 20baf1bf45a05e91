//! `tm setup`: makes a target ready for everybody else's `tm deploy`.
//!
//! The builder and base images come from this program alone and go to the registry, with `--copy-images` also those that
//! languages build in and run on; their names, and the registry's, go into ConfigMap `kube-public/tm-config`; the Tasks go into the namespace; the rights a user needs go to stdout. It may be
//! repeated: what did not change is not sent, and what others set is left alone.

mod copies;
mod images;
mod settings;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    core::v1::ConfigMap,
    rbac::v1::{Role, RoleBinding, Subject},
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tm_oci::{
    Reference,
    auth::Keychain,
    image::Image,
    registry::{Client, ClientOptions},
};
use tm_resources::{
    target::{NAMESPACE, REGISTRY_HOST, TM_CONFIG, param_override},
    tekton::Task,
};

use self::{
    copies::{Clients, Copy},
    settings::{Before, FIELD_MANAGER},
};
use super::{Session, output};
use crate::{
    cli::{Setup, TASKS},
    error::HintExt,
    permissions,
    registry::{self, Place},
    runtime,
    target::{Target, connect, published},
};

/// Parameter of all Tasks with the builder image.
const BUILDER_IMAGE: &str = "BUILDER_IMAGE";
/// Parameter whose default base our own replaces: programs of Go need nothing of a system.
const GO_BASE: &str = "go.BASE_IMAGE";
/// Names of the images made here.
const BUILDER: &str = "builder";
const BASE: &str = "base";

/// An image to be pushed, and the names it has.
struct Made {
    image: Image,
    /// Name and tag to push to from here.
    push: Reference,
    /// `key`'s value in the settings.
    value: String,
    key: &'static str,
}

pub(super) async fn run(args: Setup, session: Session) -> Result<()> {
    let typed = settings::typed(&args.images)?;
    let target = connect(&session.global, &session.printer).await?;
    let map = published::config_map(&target.client, NAMESPACE, TM_CONFIG)
        .await
        .context("failed to read the target's settings")?;
    let mut before = Before::of(map.as_ref());
    let there = map.and_then(|map| map.data).unwrap_or_default();
    if args.force {
        before.foreign.clear();
    }
    let mut data = before.ours.clone();
    if let Some(host) = &session.global.registry_host {
        data.insert(REGISTRY_HOST.into(), host.clone());
    }
    if let Some(image) = &args.builder_image {
        data.insert(BUILDER_IMAGE.into(), image.clone());
    }
    for (key, value) in typed {
        match value {
            Some(value) => drop(data.insert(key, value)),
            None => drop(data.remove(&key)),
        }
    }
    keep_foreign(&mut data, &before, &session);
    let made = make_images(&args, &before, &data, &session, &target).await?;
    data.extend(made.iter().map(|made| (made.key.to_owned(), made.value.clone())));
    let theirs = there.into_iter().filter(|(key, _)| !before.ours.contains_key(key));
    let mut effective: BTreeMap<_, _> = theirs.chain(data.clone()).collect();
    let clients = clients(&args, &session, &target).await?;
    let copies = copy_images(&args, &effective, &before, &clients, &session, &target).await?;
    let copied = copies.iter().map(|copy| (copy.key.clone(), copy.value.clone()));
    data.extend(copied.clone());
    effective.extend(copied);
    let tasks = tasks(&effective, &target.namespace, &session)?;
    let rights = rights(&args, &target.namespace)?;
    let map = settings::config_map(data, &before);
    if session.global.dry {
        let mut all = settings_objects(map)?;
        for task in &tasks {
            all.push(serde_json::to_value(task)?);
        }
        all.extend(rights);
        return output::objects(&session, &all);
    }
    push(&made, &clients, &session).await?;
    copies::push(&copies, &clients, &session).await?;
    apply_settings(map, &args, &session, &target).await?;
    for task in &tasks {
        apply(&target, &target.namespace, task, true).await?;
    }
    session.printer.note(&format!("Tasks installed in namespace {}: {}", target.namespace, TASKS.join(", ")));
    output::objects(&session, &rights)
}

/// What somebody else set is theirs; the user is told.
fn keep_foreign(data: &mut BTreeMap<String, String>, before: &Before, session: &Session) {
    for (key, theirs) in &before.foreign {
        if let Some(ours) = data.remove(key).filter(|ours| ours != theirs) {
            session.printer.warning(&format!(
                "{key} is left at {theirs}, which somebody else set; --force sets it to {ours}"
            ));
        }
    }
}

/// The images that are neither chosen by the operator, now or earlier, nor set by somebody else.
async fn make_images(
    args: &Setup,
    before: &Before,
    data: &BTreeMap<String, String>,
    session: &Session,
    target: &Target,
) -> Result<Vec<Made>> {
    let removed = |key: &str| args.images.iter().any(|image| image.trim_end_matches('=') == key);
    let wanted = |key: &str, name: &str| {
        let (task, param) = key.split_once('.').unwrap_or(("", key));
        let theirs = param_override(&before.foreign, task, param).is_some();
        !theirs && !removed(key) && data.get(key).is_none_or(|image| is_made(image, name))
    };
    let (builder, base) = (wanted(BUILDER_IMAGE, BUILDER), wanted(GO_BASE, BASE));
    if !builder && !base {
        session.printer.note("No image is made: the target's settings name a builder and a base already");
        return Ok(Vec::new());
    }
    let place = registry::place(&session.global, target).await?;
    let mut made = Vec::new();
    if builder {
        let step = session.printer.step("Making the builder image");
        let program = std::env::current_exe().context("failed to find this program")?;
        let image = images::builder(program, args.registry_ca.clone()).await?;
        step.done();
        // Nodes pull the builder; the base is read by builds.
        made.push(named(BUILDER_IMAGE, BUILDER, &place, &place.nodes, image)?);
    }
    if base {
        let image = images::base(args.registry_ca.clone()).await?;
        made.push(named(GO_BASE, BASE, &place, &place.pods, image)?);
    }
    Ok(made)
}

/// What `--copy-images` asks for.
async fn copy_images(
    args: &Setup,
    effective: &BTreeMap<String, String>,
    before: &Before,
    clients: &Clients,
    session: &Session,
    target: &Target,
) -> Result<Vec<Copy>> {
    if args.copy_images.is_empty() {
        return Ok(Vec::new());
    }
    let place = registry::place(&session.global, target).await?;
    copies::find(&args.copy_images, effective, &before.foreign, &place, clients, session).await
}

/// `tm/NAME`, or `OWNER/tm-NAME` where the registry's names begin with an owner.
fn path(place: &Place, name: &str) -> String {
    match &place.owner {
        Some(owner) => format!("{owner}/tm-{name}"),
        None => format!("tm/{name}"),
    }
}

fn named(key: &'static str, name: &str, place: &Place, reader: &str, image: Image) -> Result<Made> {
    let path = path(place, name);
    let push = format!("{}/{path}:{}", place.here, env!("CARGO_PKG_VERSION"));
    let push: Reference = push
        .parse()
        .with_context(|| format!("`{push}` is no image name"))
        .hint("check --registry-host: names are lower-case")?;
    let value = format!("{reader}/{path}@{}", image.digest());
    Ok(Made { image, push, value, key })
}

/// Whether an image is one of [`named`]'s, which an update of tm makes anew.
fn is_made(image: &str, name: &str) -> bool {
    let path = image.split('@').next().unwrap_or_default();
    path.ends_with(&format!("/tm/{name}")) || path.ends_with(&format!("/tm-{name}"))
}

async fn clients(args: &Setup, session: &Session, target: &Target) -> Result<Clients> {
    let client = |keychain| {
        Client::new(ClientOptions {
            keychain,
            insecure: session.global.registry_skip_tls,
            authorities: args.registry_ca.iter().cloned().collect::<Vec<PathBuf>>(),
            ..ClientOptions::default()
        })
    };
    let elsewhere = client(Keychain::from_environment(None));
    let own = match &session.global.registry_secret {
        Some(secret) => client(registry::keychain(target, secret).await?),
        None => elsewhere.clone(),
    };
    Ok(Clients { target: own, elsewhere })
}

async fn push(made: &[Made], clients: &Clients, session: &Session) -> Result<()> {
    for made in made {
        let sent = images::push(&made.image, &clients.target, &made.push, &session.printer).await?;
        session.printer.note(&format!("{} ({} sent)", made.value, indicatif::HumanBytes(sent)));
    }
    Ok(())
}

/// The Tasks, with this target's images as defaults, so that other clients of Tekton may use them too.
fn tasks(data: &BTreeMap<String, String>, namespace: &str, session: &Session) -> Result<Vec<Task>> {
    let mut all = Vec::new();
    for name in TASKS {
        let found = runtime::builtin(name, &session.printer)?.context("a built-in Task is missing")?;
        let mut task = found.task;
        task.metadata.namespace = Some(namespace.to_owned());
        for param in &mut task.spec.params {
            if let Some(value) = param_override(data, name, &param.name) {
                param.default = Some(value.into());
            }
        }
        all.push(task);
    }
    Ok(all)
}

/// The Role users need and, where subjects are given, its binding.
fn rights(args: &Setup, namespace: &str) -> Result<Vec<Value>> {
    let subject = |kind: &str, group: Option<&str>, name: &String| Subject {
        api_group: group.map(str::to_owned),
        kind: kind.to_owned(),
        name: name.clone(),
        namespace: group.is_none().then(|| namespace.to_owned()),
    };
    let rbac = Some("rbac.authorization.k8s.io");
    let users = args.user.iter().map(|name| subject("User", rbac, name));
    let groups = args.group.iter().map(|name| subject("Group", rbac, name));
    let accounts = args.service_account.iter().map(|name| subject("ServiceAccount", None, name));
    let subjects: Vec<Subject> = users.chain(groups).chain(accounts).collect();
    let mut all = vec![serde_json::to_value(permissions::role(namespace))?];
    if !subjects.is_empty() {
        all.push(serde_json::to_value(permissions::binding(namespace, subjects))?);
    }
    Ok(all)
}

fn settings_objects(map: Option<ConfigMap>) -> Result<Vec<Value>> {
    let (role, binding) = settings::reader();
    let mut all = Vec::new();
    if let Some(map) = map {
        all.push(serde_json::to_value(map)?);
    }
    all.extend([serde_json::to_value(role)?, serde_json::to_value(binding)?]);
    Ok(all)
}

async fn apply_settings(
    map: Option<ConfigMap>,
    args: &Setup,
    session: &Session,
    target: &Target,
) -> Result<()> {
    if let Some(map) = map {
        apply(target, NAMESPACE, &map, args.force).await?;
        session.printer.note(&format!("Settings written to ConfigMap {NAMESPACE}/{TM_CONFIG}"));
    }
    let (role, binding) = settings::reader();
    if served::<Role>(target).await? {
        apply::<Role>(target, NAMESPACE, &role, true).await?;
        apply::<RoleBinding>(target, NAMESPACE, &binding, true).await?;
    } else {
        session.printer.debug("the target has no RBAC: everybody may read the settings");
    }
    Ok(())
}

/// Whether the target knows the kind at all.
async fn served<K>(target: &Target) -> Result<bool>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let groups = target.client.list_api_groups().await.context("failed to ask what the API server knows")?;
    Ok(groups.groups.iter().any(|group| group.name == K::group(&())))
}

async fn apply<K>(target: &Target, namespace: &str, object: &K, force: bool) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let mut params = PatchParams::apply(FIELD_MANAGER);
    params.force = force;
    Api::<K>::namespaced(target.client.clone(), namespace)
        .patch(&name, &params, &Patch::Apply(object))
        .await
        .map(drop)
        .with_context(|| format!("failed to apply {} {namespace}/{name}", K::kind(&())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_here_is_made_anew() {
        assert!(is_made("r.io:5000/tm/builder@sha256:0", BUILDER));
        assert!(is_made("r.io/me/tm-builder@sha256:0", BUILDER));
        for other in ["r.io/me/builder@sha256:0", "r.io/tm/base@sha256:0", "r.io/mytm/builder:1", ""] {
            assert!(!is_made(other, BUILDER), "{other}");
        }
    }
}
