//! `--copy-images`: the images languages build in and run on, copied to the target's registry, so that its nodes need no
//! other. They keep their digests.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tm_oci::{
    Reference,
    manifest::Platform,
    registry::{Client, Original},
};
use tm_resources::target::{HOST_IMAGE, param_override};

use super::images::transfer;
use crate::{commands::Session, error::HintExt, registry::Place, runtime};

/// Parameters with images that are copied, and whether nodes pull them; builds read the others.
const PARAMS: [(&str, bool); 2] = [("BUILD_IMAGE", true), ("BASE_IMAGE", false)];

/// An image to be copied.
pub(super) struct Copy {
    /// Key in the settings, `TASK.PARAM`.
    pub(super) key: String,
    /// Its value: the copy by digest.
    pub(super) value: String,
    original: Original,
    to: Reference,
}

/// Who reads and who writes.
pub(super) struct Clients {
    /// For the target's registry.
    pub(super) target: Client,
    /// For all others.
    pub(super) elsewhere: Client,
}

/// Looks up what the Tasks named use today. Copies that are there already are left alone, and so is what somebody else set for
/// one of these Tasks.
///
/// # Errors
/// When an image cannot be looked up.
pub(super) async fn find(
    tasks: &[String],
    effective: &BTreeMap<String, String>,
    foreign: &BTreeMap<String, String>,
    place: &Place,
    clients: &Clients,
    session: &Session,
) -> Result<Vec<Copy>> {
    let mut copies = Vec::new();
    for task in tasks {
        let builtin = runtime::builtin(task, &session.printer)?.context("a built-in Task is missing")?;
        for (param, by_nodes) in PARAMS {
            let key = format!("{task}.{param}");
            let declared = builtin.task.spec.params.iter().find(|declared| declared.name == param);
            let default = declared.and_then(|declared| declared.default.as_ref()?.as_str());
            let reader = if by_nodes { &place.nodes } else { &place.pods };
            let ours = format!("{reader}/{}", super::path(place, ""));
            match param_override(effective, task, param).or(default) {
                None | Some(HOST_IMAGE) => {}
                Some(image) if super::is_made(image, super::BASE) => {}
                Some(image) if image.starts_with(&ours) => {
                    session.printer.note(&format!("{key} is {image} already; --image {key}= forgets it"));
                }
                Some(image) if foreign.contains_key(&key) => {
                    session.printer.warning(&format!("{key} is left at {image}, which somebody else set"));
                }
                Some(image) => copies.push(one(key, image, reader, place, clients).await?),
            }
        }
    }
    Ok(copies)
}

async fn one(key: String, image: &str, reader: &str, place: &Place, clients: &Clients) -> Result<Copy> {
    let (from, client) = match own(image, place) {
        Some(own) => (own, &clients.target),
        None => (image.to_owned(), &clients.elsewhere),
    };
    let from: Reference = from.parse().with_context(|| format!("{key}: `{from}` is no image name"))?;
    let original = client
        .original(&from, &Platform::host())
        .await
        .with_context(|| format!("failed to look up {from} for {key}"))
        .hint("images are copied through this machine, which must reach their registry; --copy-images=TASK copies less")?;
    let name = from.repository().rsplit('/').next().unwrap_or_default();
    let path = super::path(place, name);
    let to = format!("{}/{path}:{}", place.here, from.tag().unwrap_or("copy"));
    let to = to.parse().with_context(|| format!("`{to}` is no image name"))?;
    Ok(Copy { value: format!("{reader}/{path}@{}", original.digest()), key, original, to })
}

/// The image as it is called from here, when it is on the target's own registry.
fn own(image: &str, place: &Place) -> Option<String> {
    let path = |host: &String| image.strip_prefix(host.as_str())?.strip_prefix('/');
    let path = [&place.here, &place.pods, &place.nodes].into_iter().find_map(path)?;
    Some(format!("{}/{path}", place.here))
}

/// Sends what the target's registry lacks.
///
/// # Errors
/// When one of the registries refuses.
pub(super) async fn push(copies: &[Copy], clients: &Clients, session: &Session) -> Result<()> {
    for copy in copies {
        let title = format!("Copying {}", copy.to);
        let sent = transfer(title, copy.original.bytes(), &session.printer, async |progress| {
            copy.original.copy(&clients.target, &copy.to, &progress).await
        });
        let sent = sent.await?;
        session.printer.note(&format!("{} ({} sent)", copy.value, indicatif::HumanBytes(sent)));
    }
    Ok(())
}
