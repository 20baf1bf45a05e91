//! The source of a function: what was typed becomes a tar on disk, with its digest.
//!
//! A directory is walked by `.tmignore`, else `.gitignore`; a single file becomes a directory with that file; a git URL is
//! cloned; an image needs no source at all.

mod archive;
mod git;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tm_oci::Reference;

pub(crate) use archive::{Archive, pack};

use crate::{
    error::HintExt,
    settings::{From, ServiceSettings},
    userinfo,
};

/// Patterns of what is left out, instead of those of `.gitignore`.
const TM_IGNORE: &str = ".tmignore";
/// Files that ignore patterns are read from.
const IGNORE_FILES: [&str; 2] = [TM_IGNORE, ".gitignore"];

/// Where a function comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files to be built. The folder of a clone lives as long as this.
    Files {
        /// The directory or file.
        path: PathBuf,
        /// Keeps a clone.
        _clone: Option<tempfile::TempDir>,
    },
    /// A built image.
    Image(Reference),
}

/// Finds out what the source is.
pub(crate) async fn find(settings: &ServiceSettings) -> Result<Source> {
    match &settings.from {
        From::Image(text) => image(text),
        From::Git(url) => clone(url, &settings.revision).await,
        From::Any(text) => {
            let path = Path::new(text);
            if path.exists() {
                return files(path);
            }
            if is_git(text) {
                return clone(text, &settings.revision).await;
            }
            if looks_like_image(text) {
                return image(text);
            }
            let text = userinfo::shown(text);
            let error = Err(anyhow::anyhow!("no such file or directory: `{text}`"));
            match nearest(path) {
                Some(near) => error.hint(format!(
                    "did you mean `{near}`? An image needs a registry or a tag, like `host/{text}:1`"
                )),
                None => {
                    error.hint("give a directory, a file, a git URL or an image (with a registry or a tag)")
                }
            }
        }
    }
}

fn files(path: &Path) -> Result<Source> {
    let path = path.canonicalize().with_context(|| format!("failed to open `{}`", path.display()))?;
    Ok(Source::Files { path, _clone: None })
}

async fn clone(url: &str, revision: &str) -> Result<Source> {
    let folder = git::clone(url, revision).await?;
    Ok(Source::Files { path: folder.path().join("source"), _clone: Some(folder) })
}

fn image(text: &str) -> Result<Source> {
    // What is parsed is quoted by the parser.
    let text = userinfo::shown(text);
    let reference = text.parse().with_context(|| format!("`{text}` is no image reference"))?;
    Ok(Source::Image(reference))
}

fn is_git(text: &str) -> bool {
    let scheme =
        ["https://", "http://", "ssh://", "git://", "file://"].iter().any(|scheme| text.starts_with(scheme));
    scheme || text.ends_with(".git") || (text.starts_with("git@") && text.contains(':'))
}

/// A word is an image only with a registry host, a tag or a digest: anything else is more likely a mistyped path.
fn looks_like_image(text: &str) -> bool {
    if text.starts_with(['.', '/', '~']) || text.parse::<Reference>().is_err() {
        return false;
    }
    let host = text.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    host || text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// The entry of the parent folder whose name is most like the missing one's.
fn nearest(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let best = fs_err::read_dir(parent)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|candidate| (strsim::jaro_winkler(name, &candidate), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(parent.join(best.1).display().to_string().trim_start_matches("./").to_owned())
}

/// The runtime that fits the files, when none was named.
pub(crate) fn guess_runtime(path: &Path) -> Result<&'static str> {
    let names: Vec<String> = if path.is_dir() {
        fs_err::read_dir(path)?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    } else {
        path.file_name().and_then(|name| name.to_str()).map(str::to_owned).into_iter().collect()
    };
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let ends =
        |suffixes: &[&str]| names.iter().any(|name| suffixes.iter().any(|suffix| name.ends_with(suffix)));
    let guesses = [
        (has("bootstrap"), "custom"),
        (has("go.mod") || ends(&[".go"]), "go"),
        (has("package.json") || ends(&[".js", ".mjs", ".cjs", ".ts"]), "node"),
        (has("requirements.txt") || ends(&[".py"]), "python"),
    ];
    match guesses.into_iter().find(|(fits, _)| *fits) {
        Some((_, runtime)) => Ok(runtime),
        None if names.is_empty() => {
            bail!("`{}` is empty", path.display())
        }
        None => Err(anyhow::anyhow!("no runtime fits the files in `{}`", path.display()))
            .hint("name one with --runtime: go, python, node or custom"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_need_a_host_or_a_tag() {
        for image in [
            "ghcr.io/a/b",
            "localhost/a",
            "127.0.0.1:5000/a/b:1",
            "busybox:1",
            "a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(looks_like_image(image), "{image}");
        }
        for path in ["examples/pyton", "./a:b", "/x/y", "hello", "~/a.b/c"] {
            assert!(!looks_like_image(path), "{path}");
        }
    }

    #[test]
    fn git_urls() {
        for url in ["https://github.com/a/b", "git@github.com:a/b.git", "ssh://h/a", "a/b.git"] {
            assert!(is_git(url), "{url}");
        }
        assert!(!is_git("ghcr.io/a/b:1"));
    }

    #[test]
    fn runtimes_by_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let guess = |file: &str| {
            let path = folder.path().join(file);
            fs_err::write(&path, "").expect("it writes");
            let runtime = guess_runtime(folder.path()).expect("it fits");
            fs_err::remove_file(path).expect("it is there");
            runtime
        };
        assert_eq!(guess("main.go"), "go");
        assert_eq!(guess("index.mjs"), "node");
        assert_eq!(guess("handler.py"), "python");
        assert_eq!(guess("bootstrap"), "custom");
        let empty = guess_runtime(folder.path()).expect_err("nothing is there");
        assert!(empty.to_string().ends_with("is empty"));
    }
}
