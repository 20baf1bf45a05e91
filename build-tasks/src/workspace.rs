//! The workspace of a build: where the source is, where layers go, and what the image's config needs to know.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// The workspace, and the part of the source that is to be built.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    source: PathBuf,
}

/// `out/config.json`: what the language knows and the image needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildConfig {
    /// As AWS names runtimes: `python3.12`, `nodejs20.x`, `provided`.
    pub runtime: String,
    /// The handler, as the runtime understands it.
    pub handler: String,
    /// Variables of the image.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

// === impl Workspace ===

impl Workspace {
    /// Opens the workspace. `directory` must be a folder inside the source.
    pub(crate) fn open(root: &Path, directory: &str) -> Result<Self, Failure> {
        let failed = |error| Failure::new("failed to open the workspace", error);
        let root = fs::canonicalize(root).map_err(failed)?;
        let src =
            fs::canonicalize(root.join("src")).map_err(|error| Failure::new("there is no source", error))?;
        let directory = directory.trim().trim_start_matches("./");
        let source = fs::canonicalize(src.join(directory.trim_start_matches('/')))
            .map_err(|_| Failure::because(format!("DIRECTORY `{directory}` is not in the source")))?;
        if !source.starts_with(&src) || !source.is_dir() {
            return Err(Failure::because(format!(
                "DIRECTORY `{directory}` is not a folder inside the source"
            )));
        }
        Ok(Self { root, source })
    }

    /// What is to be built.
    pub(crate) fn source(&self) -> &Path {
        &self.source
    }

    /// The whole source, of which [`Self::source`] may be a part.
    pub(crate) fn whole_source(&self) -> PathBuf {
        self.root.join("src")
    }

    /// An empty folder for a layer.
    pub(crate) fn fresh_layer(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.layer(name);
        crate::tree::remove(&dir)?;
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Where a layer is.
    pub(crate) fn layer(&self, name: &str) -> PathBuf {
        self.root.join("out/layers").join(name)
    }

    /// A folder for what tools write besides the result.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.root.join(".tm").join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Writes `out/config.json`.
    pub(crate) fn write_config(&self, config: &BuildConfig) -> Result<(), Failure> {
        let text =
            serde_json::to_vec_pretty(config).map_err(|error| Failure::new("failed to write", error))?;
        fs::create_dir_all(self.root.join("out"))?;
        Ok(fs::write(self.root.join("out/config.json"), text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_stays_inside_the_source() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("src/a/b")).unwrap();
        fs::create_dir_all(dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink("../out", dir.path().join("src/link")).unwrap();
        let open = |directory: &str| Workspace::open(dir.path(), directory);
        assert!(open("").unwrap().source().ends_with("src"));
        assert!(open("a/b").unwrap().source().ends_with("src/a/b"));
        assert!(open("./a").unwrap().source().ends_with("src/a"));
        assert!(open("/a").unwrap().source().ends_with("src/a"));
        for outside in ["..", "../out", "link", "missing", "a/../../out"] {
            assert!(open(outside).is_err(), "{outside}");
        }
    }
}
