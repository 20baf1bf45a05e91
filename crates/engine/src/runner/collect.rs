//! What nobody refers to any more goes: unpacked images and the registry's blobs. Done once at the engine's start, before
//! any pod runs, so nothing can be taken away from under a pod; deleting itself happens in the background.

use std::{collections::HashSet, path::Path, time::Duration};

use fs_err as fs;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};
use tm_oci::Digest;
use tm_resources::{
    serving::{Revision, Service},
    tekton::TaskRun,
};

use crate::registry::Storage;

/// Blobs younger than this stay whatever refers to them: a push may be under way.
const GRACE: Duration = Duration::from_secs(3600);
/// Beginning of the names of folders that are being removed.
const TRASH: &str = ".trash-";
/// How a digest begins in a reference.
const SHA256: &str = "sha256:";

/// Puts unpacked images that are not referred to aside, and starts to delete them and the registry's unused blobs.
///
/// # Errors
/// When the API does not answer.
pub(crate) async fn run(client: &Client, storage: Storage, images: &Path) -> Result<(), kube::Error> {
    let mut used = HashSet::new();
    mentioned::<Revision>(client, &mut used).await?;
    mentioned::<Service>(client, &mut used).await?;
    mentioned::<Pod>(client, &mut used).await?;
    mentioned::<TaskRun>(client, &mut used).await?;
    if let Err(error) = put_aside(images, &used) {
        tracing::warn!(%error, "failed to put unused images aside");
    }
    let images = images.to_owned();
    // Ends by itself; the runtime waits for it at the engine's end.
    tokio::task::spawn_blocking(move || {
        empty_trash(&images);
        let keep = used.iter().filter_map(|hex| format!("{SHA256}{hex}").parse::<Digest>().ok()).collect();
        match storage.collect(&keep, GRACE) {
            Ok(gone) if gone.blobs > 0 => {
                tracing::info!(blobs = gone.blobs, bytes = gone.bytes, "unused blobs were removed")
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "failed to collect blobs"),
        }
    });
    Ok(())
}

/// Adds every digest that objects of a kind mention anywhere: rather one image too many than one too few.
async fn mentioned<K>(client: &Client, used: &mut HashSet<String>) -> Result<(), kube::Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    for object in Api::<K>::all(client.clone()).list(&ListParams::default()).await? {
        let text = serde_json::to_string(&object).map_err(kube::Error::SerdeError)?;
        used.extend(digests(&text));
    }
    Ok(())
}

fn digests(text: &str) -> impl Iterator<Item = String> {
    text.split(SHA256).skip(1).filter_map(|rest| {
        let hex = rest.get(..64)?;
        hex.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| hex.to_owned())
    })
}

fn put_aside(images: &Path, used: &HashSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(images)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_image = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_image && !used.contains(&name) {
            fs::rename(entry.path(), images.join(format!("{TRASH}{name}")))?;
        }
    }
    Ok(())
}

fn empty_trash(images: &Path) {
    for entry in fs::read_dir(images).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TRASH)
            && let Err(error) = super::kubelet::remove_tree(&entry.path())
        {
            tracing::warn!(%error, "failed to remove an unused image");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_mentioned_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (used, unused) = ("a".repeat(64), "b".repeat(64));
        for name in [&used, &unused, "other"] {
            fs::create_dir(folder.path().join(name)).expect("it is made");
        }
        let text = format!(r#"{{"image":"tm.local/x@sha256:{used}","odd":"sha256:zz sha256:"}}"#);
        put_aside(folder.path(), &digests(&text).collect()).expect("it renames");
        empty_trash(folder.path());
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .expect("it lists")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, [used, "other".to_owned()]);
    }
}
