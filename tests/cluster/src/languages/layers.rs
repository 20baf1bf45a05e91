//! Layers of the language images: Debian packages or the machine's Go, compressed once and kept by what they are made of.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use tm_oci::{Digest, layer::LayerBuilder, manifest::Descriptor};

use crate::{command::Program, say, settings::Settings};

/// Bump when what is done to unpacked packages changes.
const RECIPE: &str = "1";
const UNPACK_LIMIT: Duration = Duration::from_secs(900);
/// Authorities that Debian's programs trust.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the public images have that stand for ours by default; awslambdaric needs the C++ library.
const COMMON: &[&str] = &[
    "base-files",
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",
    "grep",
    "libc-bin",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "sed",
    "tar",
    "tzdata",
];
/// Packages of a layer besides [`COMMON`]. Debian's Go is too old for current modules: the machine's is taken.
const PACKAGES: &[(&str, &[&str])] =
    &[("base", &["curl", "gzip"]), ("python", &["python3", "python3-pip"]), ("node", &["nodejs", "npm"])];
/// Nobody reads these in a container; some differ from day to day.
const UNREAD: &[&str] = &[
    "dev",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/include",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
];
/// Parts of a Go installation that no build needs.
const GO_UNREAD: &[&str] = &["api", "doc", "misc", "test"];

/// A compressed layer in the cache.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) diff_id: Digest,
    pub(super) file: PathBuf,
}

/// What is written beside a layer.
#[derive(Serialize, Deserialize)]
struct Kept {
    descriptor: Descriptor,
    diff_id: Digest,
}

/// The layer `name`, from the cache or made now.
pub(super) async fn get(settings: &Settings, name: &str) -> Result<Layer> {
    let folder = settings.cache.join("layers");
    fs::create_dir_all(&folder)?;
    let key = key(name).await?;
    if let Some(layer) = kept(&folder, name, &key) {
        return Ok(layer);
    }
    say::note(&format!("  making the layer {name}"));
    let unpacked = tempfile::tempdir_in(&folder)?;
    let root = unpacked.path().join("root");
    match packages(name) {
        Some(packages) => unpack_debian(&root, &packages).await?,
        None => copy_go(&root).await?,
    }
    let (to, name, key) = (folder.clone(), name.to_owned(), key);
    tokio::task::spawn_blocking(move || compress(&to, &name, &key, &root)).await?
}

/// This machine's authorities and the users that every image has: small, and never kept.
pub(super) fn machine_layer(settings: &Settings) -> Result<Layer> {
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
                 nonroot:x:65532:65532:nonroot:/home/nonroot:/usr/sbin/nologin\n";
    let mut layer = LayerBuilder::new();
    layer.add_bytes("etc/passwd", users.into(), false)?;
    layer.add_bytes("etc/group", "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n".into(), false)?;
    layer.add_bytes(AUTHORITIES.trim_start_matches('/'), fs::read(AUTHORITIES)?, false)?;
    layer.add_folder("tmp", 0o1777)?;
    write(&settings.state.join("machine.tar.gz"), &layer)
}

fn packages(name: &str) -> Option<Vec<&'static str>> {
    let (_, own) = PACKAGES.iter().find(|(of, _)| *of == name)?;
    Some(COMMON.iter().chain(*own).copied().collect())
}

/// Hash of what the layer is made of. Debian's updates do not count: `rm -r` of the cache's `layers` fetches them.
async fn key(name: &str) -> Result<String> {
    let source = match packages(name) {
        Some(packages) => format!("{} {}", suite()?, packages.join(",")),
        None => Program::new("go").arg("version").text().await?,
    };
    Ok(Digest::of(format!("{RECIPE} {source}").as_bytes()).hex()[..16].to_owned())
}

/// Name of the Debian release of this machine.
fn suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("`/etc/os-release` has no VERSION_CODENAME\nhint: this needs Debian")?
        .trim_matches('"')
        .to_owned())
}

/// Unpacked, not installed: no script of a package runs, which none of these needs.
async fn unpack_debian(root: &Path, packages: &[&str]) -> Result<()> {
    Program::new("mmdebstrap")
        .args(["--quiet", "--variant=extract", "--format=directory"])
        .arg(format!("--include={}", packages.join(",")))
        .arg(suite()?)
        .arg(root)
        .limit(UNPACK_LIMIT)
        .run()
        .await?;
    drop_unread(root, UNREAD)
}

async fn copy_go(root: &Path) -> Result<()> {
    let installed = Program::new("go").args(["env", "GOROOT"]).text().await?;
    let to = root.join("usr/local");
    fs::create_dir_all(&to)?;
    Program::new("cp")
        .args(["-R", "--preserve=mode,links", "--"])
        .arg(installed)
        .arg(to.join("go"))
        .run()
        .await?;
    drop_unread(&to.join("go"), GO_UNREAD)
}

fn drop_unread(root: &Path, unread: &[&str]) -> Result<()> {
    for folder in unread.iter().map(|below| root.join(below)).filter(|folder| folder.exists()) {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn compress(folder: &Path, name: &str, key: &str, root: &Path) -> Result<Layer> {
    let mut builder = LayerBuilder::new();
    builder.add_tree(root)?;
    let layer = write(&folder.join(format!("{name}-{key}.tar.gz")), &builder)?;
    let note = Kept { descriptor: layer.descriptor.clone(), diff_id: layer.diff_id.clone() };
    tm_oci::layout::write_atomic(&note_of(folder, name, key), &serde_json::to_vec(&note)?)?;
    forget_older(folder, name, key)?;
    Ok(layer)
}

fn write(file: &Path, builder: &LayerBuilder) -> Result<Layer> {
    let blob = builder.write_blob(fs::File::create(file)?)?;
    Ok(Layer { descriptor: blob.descriptor, diff_id: blob.diff_id, file: file.to_owned() })
}

/// The note is written last: a layer without one is not whole.
fn kept(folder: &Path, name: &str, key: &str) -> Option<Layer> {
    let note: Kept = serde_json::from_slice(&fs::read(note_of(folder, name, key)).ok()?).ok()?;
    let file = folder.join(format!("{name}-{key}.tar.gz"));
    let whole = fs::metadata(&file).is_ok_and(|meta| meta.len() == note.descriptor.size);
    whole.then_some(Layer { descriptor: note.descriptor, diff_id: note.diff_id, file })
}

fn note_of(folder: &Path, name: &str, key: &str) -> PathBuf {
    folder.join(format!("{name}-{key}.json"))
}

/// Removes earlier layers of that name.
fn forget_older(folder: &Path, name: &str, key: &str) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && file.starts_with(&format!("{name}-")) && !file.contains(key) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_layer_is_used_and_a_cut_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), "text").unwrap();
        let made = compress(root.path(), "x", "key", &tree).unwrap();
        let again = kept(root.path(), "x", "key").unwrap();
        assert_eq!((again.descriptor, again.diff_id), (made.descriptor, made.diff_id));
        fs::write(&made.file, "cut").unwrap();
        assert!(kept(root.path(), "x", "key").is_none());
        compress(root.path(), "x", "other", &tree).unwrap();
        assert!(!made.file.exists(), "the older one stays");
    }

    #[test]
    fn each_debian_layer_has_a_shell_and_authorities() {
        for (name, _) in PACKAGES {
            let packages = packages(name).unwrap();
            assert!(packages.contains(&"dash") && packages.contains(&"ca-certificates"), "{name}");
        }
    }
}
