//! Manifest, index and image config: small types that keep the fields they do not know.
//!
//! Maps are sorted and unknown fields stay in the order they came in, so the same value always becomes the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{digest::Digest, media_type};

/// Reference to a blob by content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a manifest of an index runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// As Go spells it: `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// Such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::MANIFEST`] or Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// Layers, bottom first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Several images, usually one per platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::INDEX`] or Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The image config: what runs and which layers it is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339; fixed in images that must be reproducible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// As Go spells it.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// What a container made of it runs.
    #[serde(default)]
    pub config: RunConfig,
    /// Digests of the unpacked layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How it was made; one entry per layer, plus empty ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Defaults of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, names or numbers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `KEY=VALUE`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The command.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Where it starts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `PORT/tcp`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Free text.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The unpacked layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digest of each uncompressed tar, bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

/// How a layer was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command, or what the layer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Whether no layer belongs to the entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Anything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The time that reproducible images carry.
pub const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Older Docker configs write `null` where a list is meant.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

// === impl Descriptor ===

impl Descriptor {
    /// A descriptor without annotations.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// The descriptor of `bytes`.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }
}

// === impl Platform ===

impl Platform {
    /// The platform this program was built for, in Go's words.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { architecture: architecture.into(), os: "linux".into(), ..Self::default() }
    }
}

// === impl Manifest ===

impl Manifest {
    /// An OCI manifest of `config` and `layers`.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.into()),
            config,
            layers,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// The same manifest with OCI media types throughout; the blobs' bytes are the same in both families.
    #[must_use]
    pub fn into_oci(mut self) -> Self {
        self.media_type = Some(media_type::MANIFEST.into());
        for descriptor in std::iter::once(&mut self.config).chain(&mut self.layers) {
            descriptor.media_type = media_type::to_oci(&descriptor.media_type).to_owned();
        }
        self
    }
}

// === impl Index ===

impl Index {
    /// The manifest for `platform`: the exact variant, else one without a variant, else any of that architecture.
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let fits = |d: &&Descriptor| {
            d.platform
                .as_ref()
                .is_some_and(|p| p.os == platform.os && p.architecture == platform.architecture)
        };
        let variant = |d: &Descriptor| d.platform.as_ref().and_then(|p| p.variant.clone());
        let all = || self.manifests.iter().filter(fits);
        all()
            .find(|d| variant(d) == platform.variant)
            .or_else(|| all().find(|d| variant(d).is_none()))
            .or_else(|| all().next())
    }
}

// === impl ImageConfig ===

impl ImageConfig {
    /// The config of an image without layers for the platform this program was built for, made at the time that reproducible
    /// images carry.
    pub fn of_host(run: RunConfig) -> Self {
        let platform = Platform::host();
        Self {
            created: Some(EPOCH.into()),
            architecture: platform.architecture,
            os: platform.os,
            config: run,
            ..Self::default()
        }
    }
}

// === impl RunConfig ===

impl RunConfig {
    /// Sets a variable, replacing an earlier value in place.
    pub fn set_env(&mut self, key: &str, value: &str) {
        let line = format!("{key}={value}");
        match self.env.iter_mut().find(|entry| entry.split('=').next() == Some(key)) {
            Some(entry) => *entry = line,
            None => self.env.push(line),
        }
    }

    /// A variable's value.
    pub fn env(&self, key: &str) -> Option<&str> {
        self.env
            .iter()
            .find_map(|entry| entry.split_once('=').filter(|(k, _)| *k == key).map(|(_, value)| value))
    }
}

// === impl RootFs ===

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// The bytes of a value as they go to a registry.
///
/// # Errors
/// When the value cannot be written as JSON, which only a map with keys that are not text can cause.
pub fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(value)
}

/// The base "this machine": an image without layers, as manifest, config and config bytes.
///
/// # Errors
/// As [`to_bytes`].
pub fn host_image() -> Result<(Manifest, ImageConfig, Vec<u8>), serde_json::Error> {
    let config = ImageConfig::of_host(RunConfig::default());
    let bytes = to_bytes(&config)?;
    let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &bytes), Vec::new());
    Ok((manifest, config, bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_survive() {
        let text = json!({
            "created": "2020-01-01T00:00:00Z", "architecture": "amd64", "os": "linux", "variant": "v1",
            "config": {"Env": ["A=1"], "Cmd": null, "Healthcheck": {"Test": ["NONE"]}, "Volumes": {"/x": {}}},
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [{"created_by": "x", "empty_layer": true, "comment": "c"}]
        });
        let config: ImageConfig = serde_json::from_value(text.clone()).unwrap();
        let back = serde_json::to_value(&config).unwrap();
        assert_eq!(back["variant"], "v1");
        assert_eq!(back["config"]["Healthcheck"], text["config"]["Healthcheck"]);
        assert_eq!(back["history"][0]["comment"], "c");
        assert!(config.config.cmd.is_empty());
    }

    #[test]
    fn docker_manifest_becomes_oci_without_touching_blobs() {
        let digest = Digest::of(b"x");
        let docker = Manifest {
            media_type: Some(media_type::DOCKER_MANIFEST.into()),
            ..Manifest::new(
                Descriptor::new(media_type::DOCKER_CONFIG, digest.clone(), 1),
                vec![Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest.clone(), 2)],
            )
        };
        let oci = docker.into_oci();
        assert_eq!(oci.media_type.as_deref(), Some(media_type::MANIFEST));
        assert_eq!(oci.config.media_type, media_type::CONFIG);
        assert_eq!(
            (oci.layers[0].media_type.as_str(), &oci.layers[0].digest),
            (media_type::LAYER_GZIP, &digest)
        );
    }

    #[test]
    fn index_prefers_the_exact_variant() {
        let entry = |arch: &str, variant: Option<&str>, n: u64| Descriptor {
            platform: Some(Platform {
                architecture: arch.into(),
                os: "linux".into(),
                variant: variant.map(str::to_owned),
                ..Platform::default()
            }),
            ..Descriptor::new(media_type::MANIFEST, Digest::of(b""), n)
        };
        let index = Index {
            schema_version: 2,
            media_type: None,
            manifests: vec![
                entry("arm64", Some("v8"), 1),
                entry("amd64", Some("v2"), 2),
                entry("amd64", None, 3),
            ],
            annotations: BTreeMap::new(),
            other: Map::new(),
        };
        let pick = |arch: &str| {
            index
                .select(&Platform { architecture: arch.into(), os: "linux".into(), ..Platform::default() })
                .map(|d| d.size)
        };
        assert_eq!((pick("amd64"), pick("arm64"), pick("s390x")), (Some(3), Some(1), None));
    }

    #[test]
    fn env_is_replaced_in_place() {
        let mut config = RunConfig { env: vec!["PATH=/bin".into(), "A=1".into()], ..RunConfig::default() };
        config.set_env("PATH", "/x");
        config.set_env("B", "2=3");
        assert_eq!(config.env, ["PATH=/x", "A=1", "B=2=3"]);
        assert_eq!(config.env("B"), Some("2=3"));
    }

    #[test]
    fn host_image_is_always_the_same() {
        let (manifest, _, _) = host_image().unwrap();
        assert!(manifest.layers.is_empty());
        assert_eq!(to_bytes(&manifest).unwrap(), to_bytes(&host_image().unwrap().0).unwrap());
    }
}
