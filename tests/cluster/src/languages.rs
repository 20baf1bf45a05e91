//! Images with the languages' toolchains, for the Tasks: Debian's packages, unpacked by mmdebstrap, pushed to the open
//! registry and named in `kube-public/tm-config`.
//!
//! What costs time, the layers, is kept in the cache. What is this machine's (how packages are reached, whom to trust)
//! goes into the images when they are put together and nowhere else.

mod layers;
mod machine;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use kube::Client;
use serde_json::json;
use tm_oci::{
    Reference,
    digest::Digest,
    manifest::{self, Descriptor, ImageConfig, Manifest, RunConfig},
    media_type,
    registry::{Access, BlobEvent, Client as Registry, ClientOptions, Content, Progress, Repository},
};

use crate::{apply, manifests::Wave, say, settings::Settings};
use layers::Layer;

const NAMESPACE: &str = "kube-public";
const TM_CONFIG: &str = "tm-config";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const GO_PATH: &str = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The registry is next door.
const STALL: Duration = Duration::from_secs(60);

/// One image.
struct Language {
    name: &'static str,
    layers: &'static [&'static str],
    /// Builds fetch packages: they are told how this machine does it. What functions run on knows nothing of it.
    builds: bool,
    /// Parameters of Tasks whose value it is.
    params: &'static [&'static str],
}

/// What `tm setup` writes (builder, base of Go functions) is not here.
const LANGUAGES: &[Language] = &[
    Language { name: "base", layers: &["base"], builds: false, params: &["custom.BASE_IMAGE"] },
    Language { name: "go", layers: &["base", "go"], builds: true, params: &["go.BUILD_IMAGE"] },
    Language { name: "python", layers: &["python"], builds: true, params: &["python.BUILD_IMAGE"] },
    Language { name: "python-base", layers: &["python"], builds: false, params: &["python.BASE_IMAGE"] },
    Language { name: "node", layers: &["node"], builds: true, params: &["node.BUILD_IMAGE"] },
    Language { name: "node-base", layers: &["node"], builds: false, params: &["node.BASE_IMAGE"] },
];

/// Makes the images, pushes them and names them for the Tasks.
pub(crate) async fn provide(settings: &Settings, client: &Client) -> Result<()> {
    let mut made = BTreeMap::new();
    for name in ["base", "go", "python", "node"] {
        made.insert(name, layers::get(settings, name).await.with_context(|| hint(name))?);
    }
    let trust = layers::machine_layer(settings)?;
    let registry = Registry::new(ClientOptions { stall: STALL, ..ClientOptions::default() });
    let mut params = BTreeMap::new();
    for language in LANGUAGES {
        let layers: Vec<&Layer> = language.layers.iter().map(|name| &made[name]).chain([&trust]).collect();
        let run =
            run_config(language, if language.builds { machine::environment().await } else { Vec::new() });
        let image: Reference =
            format!("{}/lang/{}:{}", settings.open_registry(), language.name, tag(&layers)).parse()?;
        let digest = push(&registry, &image, run, &layers).await?;
        params.extend(
            language.params.iter().map(|param| (*param, image.at_digest(digest.clone()).to_string())),
        );
    }
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": TM_CONFIG, "namespace": NAMESPACE}, "data": params,
    });
    // `tm setup` owns other keys of the same ConfigMap.
    apply::apply(client, &[(Wave::Settings, config)], Wave::Settings).await
}

fn hint(name: &str) -> String {
    format!(
        "failed to make the image for {name}\nhint: `tests/cluster/up --no-images` leaves language images out"
    )
}

/// Another content is another tag, so nodes never run an old one.
fn tag(layers: &[&Layer]) -> String {
    let digests: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    Digest::of(digests.join(" ").as_bytes()).hex()[..12].to_owned()
}

fn run_config(language: &Language, environment: Vec<(String, String)>) -> RunConfig {
    let mut run = RunConfig { cmd: vec!["/bin/sh".into()], ..RunConfig::default() };
    run.set_env("PATH", if language.layers.contains(&"go") { GO_PATH } else { PATH });
    run.set_env("LANG", "C.UTF-8");
    for (name, value) in environment {
        run.set_env(&name, &value);
    }
    run
}

/// Sends what the registry does not have.
async fn push(registry: &Registry, image: &Reference, run: RunConfig, layers: &[&Layer]) -> Result<Digest> {
    let repository = registry.repository(image, Access::Push)?;
    let mut blobs = Vec::new();
    for layer in layers {
        put(&repository, &layer.descriptor, &Content::File(layer.file.clone())).await?;
        blobs.push(layer.descriptor.clone());
    }
    let config = manifest::to_bytes(&image_config(run, layers))?;
    let descriptor = Descriptor::of(media_type::CONFIG, &config);
    put(&repository, &descriptor, &Content::Bytes(config.into())).await?;
    let manifest: Bytes = manifest::to_bytes(&Manifest::new(descriptor, blobs))?.into();
    Ok(repository.put_manifest(image.identifier(), media_type::MANIFEST, manifest).await?)
}

async fn put(repository: &Repository, blob: &Descriptor, content: &Content) -> Result<()> {
    let silent: Progress = Arc::new(|_: &Descriptor, _: BlobEvent| {});
    repository.put_blob(blob, content, None, &silent).await?;
    Ok(())
}

fn image_config(run: RunConfig, layers: &[&Layer]) -> ImageConfig {
    let mut config = ImageConfig::of_host(run);
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    config
}

/// What `images` says at its end.
pub(crate) fn say_params() {
    let params: Vec<&str> = LANGUAGES.iter().flat_map(|language| language.params).copied().collect();
    say::note(&format!("{NAMESPACE}/{TM_CONFIG} has {}", params.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_gets_what_it_builds_in_and_runs_on() {
        let params: Vec<&str> = LANGUAGES.iter().flat_map(|language| language.params).copied().collect();
        for param in [
            "go.BUILD_IMAGE",
            "python.BUILD_IMAGE",
            "python.BASE_IMAGE",
            "node.BUILD_IMAGE",
            "node.BASE_IMAGE",
            "custom.BASE_IMAGE",
        ] {
            assert_eq!(params.iter().filter(|have| **have == param).count(), 1, "{param}");
        }
    }

    #[test]
    fn what_functions_run_on_does_not_know_how_packages_are_fetched() {
        for language in LANGUAGES.iter().filter(|language| !language.builds) {
            assert!(language.params.iter().all(|param| param.ends_with(".BASE_IMAGE")), "{}", language.name);
        }
    }

    #[test]
    fn go_is_on_the_path_of_its_image() {
        let go = LANGUAGES.iter().find(|language| language.name == "go").unwrap();
        assert!(run_config(go, Vec::new()).env("PATH").unwrap().starts_with("/usr/local/go/bin:"));
    }
}
