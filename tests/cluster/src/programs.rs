//! The programs that are built from Go modules: which they are (`go.mod`'s `tool` lines), how they are built, and where
//! they lie in the cache.
//!
//! The cache's key is the hash of everything that decides their content, so nothing is ever built twice and nothing old
//! is ever used.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use serde::Deserialize;
use tm_oci::Digest;

use crate::{command::Program, lock, say, settings::Settings};

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/go.mod");
const KUBERNETES: &str = "k8s.io/kubernetes";
/// Longest time of one module's programs, from an empty cache.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
/// Keep Go's own build cache (several GB) for the next change of `go.mod`.
const KEEP: &str = "TM_CLUSTER_KEEP_GOCACHE";

/// Built programs and the modules they are from.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    bin: PathBuf,
    modules: BTreeMap<String, Module>,
}

/// A Go module as it is used here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Module {
    path: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    dir: PathBuf,
}

/// What a program is called in three places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// `knative.dev/eventing/cmd/broker/filter`.
    pub(crate) import_path: String,
    /// `knative.dev/eventing`.
    pub(crate) module: &'static str,
}

/// The modules whose programs are built, with the short names their images carry.
const MODULES: &[(&str, &str)] = &[
    (KUBERNETES, "kubernetes"),
    ("knative.dev/serving", "serving"),
    ("knative.dev/net-kourier", "kourier"),
    ("knative.dev/eventing", "eventing"),
    ("github.com/tektoncd/pipeline", "tekton"),
];

/// Modules of which only manifests are used.
const MANIFEST_MODULES: &[&str] = &["knative.dev/networking", "knative.dev/caching"];

// === impl Tool ===

impl Tool {
    /// A tool by its import path; none when it is of no module of ours.
    pub(crate) fn of(import_path: &str) -> Option<Self> {
        let in_module = |module: &&(&str, &str)| {
            import_path.strip_prefix(module.0).is_some_and(|rest| rest.starts_with("/cmd/"))
        };
        let (module, _) = MODULES.iter().find(in_module)?;
        Some(Self { import_path: import_path.to_owned(), module })
    }

    /// The file's name.
    pub(crate) fn binary(&self) -> &str {
        self.import_path.rsplit('/').next().unwrap_or_default()
    }

    /// The image's name, whole: `dev.local/eventing-broker-filter:1`.
    ///
    /// `dev.local` is one of the registries whose tags Knative does not resolve.
    pub(crate) fn image(&self) -> String {
        let inside = self.import_path[self.module.len()..].trim_start_matches("/cmd/");
        format!("dev.local/{}-{}:1", short_name(self.module), inside.replace(['/', '_'], "-"))
    }
}

/// `tool` lines of a `go.mod`.
fn tools(go_mod: &str) -> Vec<Tool> {
    let block = go_mod.lines().map(str::trim).skip_while(|line| !line.starts_with("tool (")).skip(1);
    block.take_while(|line| *line != ")").filter_map(Tool::of).collect()
}

/// The tools that run in pods.
pub(crate) fn in_pods() -> Result<Vec<Tool>> {
    let mut tools = tools(&fs::read_to_string(MODULE)?);
    tools.retain(|tool| tool.module != KUBERNETES);
    Ok(tools)
}

fn short_name(module: &str) -> &'static str {
    MODULES.iter().find(|(path, _)| *path == module).map_or("other", |(_, short)| short)
}

// === impl Module ===

impl Module {
    /// `v1.15.0`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Its files in Go's module cache.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

// === impl Programs ===

impl Programs {
    /// Builds what is not in the cache.
    pub(crate) async fn build(settings: &Settings) -> Result<Self> {
        let modules = modules().await?;
        let flags = linker_flags(&version_of(&modules, KUBERNETES)?);
        let key = key(&flags).await?;
        let programs = Self { bin: settings.cache.join("programs").join(&key), modules };
        if !programs.bin.exists() {
            let _alone = lock::take(settings, "programs").await?;
            if !programs.bin.exists() {
                programs.build_all(settings, &flags).await?;
            }
        }
        Ok(programs)
    }

    /// The file of a Kubernetes program such as `kubelet`.
    pub(crate) fn kubernetes(&self, binary: &str) -> PathBuf {
        self.bin.join("kubernetes").join(binary)
    }

    /// The file of a tool.
    pub(crate) fn file(&self, tool: &Tool) -> PathBuf {
        self.bin.join(short_name(tool.module)).join(tool.binary())
    }

    /// A module by its path.
    pub(crate) fn module(&self, path: &str) -> Result<&Module> {
        self.modules.get(path).with_context(|| format!("`go.mod` does not name {path}"))
    }

    /// Bytes of all programs.
    pub(crate) fn folder(&self) -> &Path {
        &self.bin
    }

    async fn build_all(&self, settings: &Settings, flags: &str) -> Result<()> {
        let tools = tools(&fs::read_to_string(MODULE)?);
        let programs = settings.cache.join("programs");
        fs::create_dir_all(&programs)?;
        let unfinished = tempfile::Builder::new().prefix("unfinished-").tempdir_in(&programs)?;
        let go_cache = settings.cache.join("go-build");
        for (module, short) in MODULES {
            let of_module: Vec<_> =
                tools.iter().filter(|tool| tool.module == *module).map(|tool| &tool.import_path).collect();
            ensure!(!of_module.is_empty(), "`go.mod` names no tool of {module}");
            say::note(&format!("  building {} programs of {module}", of_module.len()));
            let out = unfinished.path().join(short);
            fs::create_dir(&out)?;
            go()?
                .args(["build", "-trimpath", "-ldflags", flags, "-o"])
                .arg(&out)
                .args(of_module)
                .env("GOCACHE", &go_cache)
                .env("CGO_ENABLED", "0")
                .limit(BUILD_LIMIT)
                .run()
                .await
                .with_context(|| format!("failed to build the programs of {module}\nhint: Go's module proxy must be reachable, and about 10 GB of disk free"))?;
        }
        fs::rename(unfinished.keep(), &self.bin)?;
        tidy(&programs, &self.bin)?;
        if std::env::var_os(KEEP).is_none() && go_cache.exists() {
            fs::remove_dir_all(go_cache)?;
        }
        Ok(())
    }
}

/// Removes the programs of earlier versions.
fn tidy(programs: &Path, keep: &Path) -> Result<()> {
    for entry in fs::read_dir(programs)? {
        let path = entry?.path();
        if path != keep {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// `go` in the folder of `go.mod`.
fn go() -> Result<Program> {
    let folder = Path::new(MODULE).parent().context("`go.mod` lies in a folder")?;
    Ok(Program::new("go").dir(folder).env("GOFLAGS", "-mod=readonly -buildvcs=false").env("GOWORK", "off"))
}

/// Version and folder of the modules whose programs or manifests are used; downloads them.
async fn modules() -> Result<BTreeMap<String, Module>> {
    let named = MODULES.iter().map(|(path, _)| path).chain(MANIFEST_MODULES);
    let listed =
        go()?.args(["mod", "download", "-json"]).args(named).limit(BUILD_LIMIT).run().await.context(
            "failed to download Go's modules\nhint: `go` 1.26 and a module proxy (GOPROXY) are needed",
        )?;
    let modules = serde_json::Deserializer::from_slice(&listed).into_iter::<Module>();
    let modules: Vec<Module> =
        modules.collect::<Result<_, _>>().context("`go mod download` wrote no JSON")?;
    Ok(modules.into_iter().map(|module| (module.path.clone(), module)).collect())
}

fn version_of(modules: &BTreeMap<String, Module>, path: &str) -> Result<String> {
    Ok(modules.get(path).with_context(|| format!("`go.mod` does not name {path}"))?.version.clone())
}

/// Without these `/version` says v0.0.0, and Knative's check of a minimum version fails.
fn linker_flags(version: &str) -> String {
    let package = "k8s.io/component-base/version";
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
         -X {package}.gitTreeState=clean"
    )
}

/// Hash of all that decides what the programs are.
async fn key(flags: &str) -> Result<String> {
    let compiler = go()?.arg("version").text().await?;
    let read = |name: &str| fs::read_to_string(Path::new(MODULE).with_file_name(name));
    let all = [read("go.mod")?, read("go.sum")?, flags.to_owned(), compiler].join("\0");
    Ok(Digest::of(all.as_bytes()).hex()[..16].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_of_our_go_mod_has_a_name_of_its_own() {
        let tools = tools(&fs::read_to_string(MODULE).unwrap());
        assert!(tools.len() > 20, "{tools:?}");
        let mut names: Vec<String> = tools.iter().map(Tool::image).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tools.len());
    }

    #[test]
    fn names_follow_the_import_path() {
        let tool = Tool::of("knative.dev/eventing/cmd/in_memory/channel_dispatcher").unwrap();
        assert_eq!(tool.binary(), "channel_dispatcher");
        assert_eq!(tool.image(), "dev.local/eventing-in-memory-channel-dispatcher:1");
        assert_eq!(Tool::of("example.com/cmd/x"), None);
    }

    #[test]
    fn the_version_is_linked_in() {
        let flags = linker_flags("v1.35.4");
        assert!(flags.contains("gitVersion=v1.35.4 ") && flags.contains("gitMinor=35 "), "{flags}");
    }

    #[test]
    fn only_the_tool_block_counts() {
        let found = tools(
            "tool (\n\tk8s.io/kubernetes/cmd/kubelet\n)\nrequire (\n\tk8s.io/kubernetes/cmd/no v1\n)\n",
        );
        assert_eq!(found, [Tool::of("k8s.io/kubernetes/cmd/kubelet").unwrap()]);
    }
}
