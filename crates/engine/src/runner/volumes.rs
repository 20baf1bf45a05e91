//! A pod's volumes as folders of the machine, and what `valueFrom` and `envFrom` refer to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fs_err as fs;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Volume};
use kube::{Api, Client};

use super::{env::References, process::container_identity};
use crate::sandbox::Mount;

/// A volume or reference that cannot be resolved: the pod waits with `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
pub(super) enum VolumeError {
    /// The object is not there.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// `secret` or `configmap`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A kind of volume the engine has not.
    #[error(
        "volume \"{0}\" is of a kind the embedded engine does not have (emptyDir, secret, configMap, projected)"
    )]
    Unsupported(String),
    /// A mount names no volume.
    #[error("volumeMounts[].name \"{0}\" not found in volumes")]
    NoVolume(String),
    /// The API did not answer.
    #[error("failed to read the pod's references")]
    Api(#[from] Box<kube::Error>),
    /// A file operation failed.
    #[error("failed to write a volume")]
    Io(#[from] std::io::Error),
}

/// Makes the pod's volumes below `folder` and says where each is.
pub(super) async fn prepare(
    client: &Client,
    pod: &Pod,
    namespace: &str,
    folder: &Path,
) -> Result<BTreeMap<String, PathBuf>, VolumeError> {
    let mut places = BTreeMap::new();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    for volume in volumes {
        let place = folder.join(&volume.name);
        fs::create_dir_all(&place)?;
        match contents(client, volume, namespace).await? {
            Some(files) => write_files(&place, &files)?,
            None => give_to_container(&place)?,
        }
        places.insert(volume.name.clone(), place);
    }
    Ok(places)
}

/// Files of a volume; `None` is an empty folder for the container to fill.
async fn contents(
    client: &Client,
    volume: &Volume,
    namespace: &str,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, VolumeError> {
    if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let data = secret(client, namespace, &name, source.optional.unwrap_or(false)).await?;
        return Ok(Some(select(data, source.items.as_deref().map(items))));
    }
    if let Some(source) = &volume.config_map {
        let data = config_map(client, namespace, &source.name, source.optional.unwrap_or(false)).await?;
        return Ok(Some(select(data, source.items.as_deref().map(items))));
    }
    if let Some(source) = &volume.projected {
        let mut all = BTreeMap::new();
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.secret {
                let data = secret(client, namespace, &part.name, part.optional.unwrap_or(false)).await?;
                all.extend(select(data, part.items.as_deref().map(items)));
            } else if let Some(part) = &part.config_map {
                let data = config_map(client, namespace, &part.name, part.optional.unwrap_or(false)).await?;
                all.extend(select(data, part.items.as_deref().map(items)));
            } else {
                return Err(VolumeError::Unsupported(volume.name.clone()));
            }
        }
        return Ok(Some(all));
    }
    if volume.empty_dir.is_some() { Ok(None) } else { Err(VolumeError::Unsupported(volume.name.clone())) }
}

fn items(items: &[k8s_openapi::api::core::v1::KeyToPath]) -> BTreeMap<String, String> {
    items.iter().map(|item| (item.key.clone(), item.path.clone())).collect()
}

/// All keys, or the chosen ones under their paths.
fn select(
    data: BTreeMap<String, Vec<u8>>,
    items: Option<BTreeMap<String, String>>,
) -> BTreeMap<String, Vec<u8>> {
    match items {
        None => data,
        Some(items) => data
            .into_iter()
            .filter_map(|(key, value)| items.get(&key).map(|path| (path.clone(), value)))
            .collect(),
    }
}

/// Writes files for the container's user only. Names come from API objects: a path that leaves the folder is refused
/// by [`safe_join`].
fn write_files(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (name, content) in files {
        let path = safe_join(folder, name)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
            give_to_container(parent)?;
        }
        fs::write(&path, content)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o400))?;
        give_to_container(&path)?;
    }
    give_to_container(folder)
}

fn safe_join(folder: &Path, name: &str) -> std::io::Result<PathBuf> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain {
        Ok(folder.join(relative))
    } else {
        Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("`{name}` is no path inside a volume"),
        ))
    }
}

/// The place of a `subPath`. A container that wrote to the volume before may have put a link there that leads out of it.
fn without_links(place: &Path, sub_path: &str) -> std::io::Result<PathBuf> {
    let wanted = safe_join(place, sub_path)?;
    let inside = wanted.ancestors().take_while(|path| *path != place);
    if inside.into_iter().any(Path::is_symlink) {
        let message = format!("subPath `{sub_path}` goes through a symbolic link");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, message));
    }
    Ok(wanted)
}

/// Makes the container's user the owner, when the engine may.
pub(super) fn give_to_container(path: &Path) -> std::io::Result<()> {
    match container_identity() {
        Some(identity) => std::os::unix::fs::chown(path, Some(identity.uid), Some(identity.gid)),
        None => Ok(()),
    }
}

/// The mounts of a container.
pub(super) fn mounts(
    container: &Container,
    places: &BTreeMap<String, PathBuf>,
) -> Result<Vec<Mount>, VolumeError> {
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let place = places.get(&wanted.name).ok_or_else(|| VolumeError::NoVolume(wanted.name.clone()))?;
        let source = match wanted.sub_path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => without_links(place, path)?,
            None => place.clone(),
        };
        if !source.exists() {
            fs::create_dir_all(&source)?;
            give_to_container(&source)?;
        }
        let writable = !wanted.read_only.unwrap_or(false);
        mounts.push(Mount { source, target: PathBuf::from(&wanted.mount_path), writable });
    }
    Ok(mounts)
}

/// Reads what the container's environment refers to.
pub(super) async fn references(
    client: &Client,
    namespace: &str,
    container: &Container,
    pod: &Pod,
) -> Result<References, VolumeError> {
    let mut references = References::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let mut data = BTreeMap::new();
        if let Some(from) = &source.secret_ref {
            data.extend(secret(client, namespace, &from.name, from.optional.unwrap_or(false)).await?);
        }
        if let Some(from) = &source.config_map_ref {
            data.extend(config_map(client, namespace, &from.name, from.optional.unwrap_or(false)).await?);
        }
        references.from.extend(data.into_iter().map(|(key, value)| (format!("{prefix}{key}"), text(value))));
    }
    for variable in container.env.iter().flatten() {
        let Some(from) = &variable.value_from else { continue };
        let value = if let Some(key) = &from.secret_key_ref {
            let optional = key.optional.unwrap_or(false);
            let data = secret(client, namespace, &key.name, optional).await?;
            pick(data, &key.key, optional, ("Secret", namespace, &key.name))?
        } else if let Some(key) = &from.config_map_key_ref {
            let optional = key.optional.unwrap_or(false);
            let data = config_map(client, namespace, &key.name, optional).await?;
            pick(data, &key.key, optional, ("ConfigMap", namespace, &key.name))?
        } else {
            from.field_ref.as_ref().and_then(|field| field_of(pod, &field.field_path))
        };
        if let Some(value) = value {
            references.values.insert(variable.name.clone(), value);
        }
    }
    Ok(references)
}

fn pick(
    mut data: BTreeMap<String, Vec<u8>>,
    key: &str,
    optional: bool,
    (kind, namespace, name): (&'static str, &str, &str),
) -> Result<Option<String>, VolumeError> {
    match data.remove(key) {
        Some(value) => Ok(Some(text(value))),
        None if optional => Ok(None),
        None => {
            Err(VolumeError::NoKey { key: key.into(), kind, namespace: namespace.into(), name: name.into() })
        }
    }
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

/// The downward API's fields that mean something here.
fn field_of(pod: &Pod, path: &str) -> Option<String> {
    match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone(),
        "status.podIP" | "status.hostIP" => Some("127.0.0.1".into()),
        "spec.nodeName" => pod.spec.as_ref()?.node_name.clone(),
        _ => None,
    }
}

async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>, VolumeError> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await.map_err(Box::new)?;
    match found {
        Some(secret) => {
            Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
        }
        None if optional => Ok(BTreeMap::new()),
        None => Err(VolumeError::NotFound { kind: "secret", name: name.into() }),
    }
}

async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>, VolumeError> {
    let found =
        Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await.map_err(Box::new)?;
    match found {
        Some(map) => {
            let texts =
                map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            Ok(texts.chain(bytes).collect())
        }
        None if optional => Ok(BTreeMap::new()),
        None => Err(VolumeError::NotFound { kind: "configmap", name: name.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc", folder.path().join("out")).expect("it links");
        assert!(without_links(folder.path(), "a/b").is_ok());
        for bad in ["out", "out/x", "../x", "/etc"] {
            assert!(without_links(folder.path(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_stay_in_the_volume() {
        let folder = Path::new("/v");
        assert_eq!(safe_join(folder, "a/b").expect("inside"), Path::new("/v/a/b"));
        for bad in ["../x", "/etc/passwd", "a/../../b"] {
            assert!(safe_join(folder, bad).is_err(), "{bad}");
        }
    }
}
