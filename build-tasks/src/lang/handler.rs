//! Handlers: `FILE.NAME`, given or found out.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::Failure;

/// Names that a function's entry point usually has.
const NAMES: &[&str] = &["handler", "lambda_handler", "endpoint", "main"];
const MAX_SCANNED: u64 = 4 << 20;

/// A handler found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    file: PathBuf,
    name: String,
}

/// Splits `dir/file.name` at the last dot.
pub(super) fn split(handler: &str) -> Option<(&str, &str)> {
    handler.rsplit_once('.').filter(|(module, name)| !module.is_empty() && !name.is_empty())
}

/// The one handler defined in the files of `root` with these endings.
pub(super) fn detect(
    root: &Path,
    endings: &[&str],
    defines: impl Fn(&str, &str) -> bool,
) -> Result<String, Failure> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let fits = path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e));
        if !fits || !path.is_file() || fs::metadata(&path)?.len() > MAX_SCANNED {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let name = NAMES.iter().find(|name| defines(&text, name));
        found.extend(name.map(|name| Found { file: path.clone(), name: (*name).to_owned() }));
        files.push(path);
    }
    files.sort();
    choose(found, &files)
}

fn choose(mut found: Vec<Found>, files: &[PathBuf]) -> Result<String, Failure> {
    found.sort_by(|a, b| a.file.cmp(&b.file));
    let listed = |found: &[Found]| found.iter().filter_map(Found::handler).collect::<Vec<_>>().join("`, `");
    match found.as_slice() {
        [one] => {
            one.handler().ok_or_else(|| Failure::because("the handler's file has a name that is not text"))
        }
        [] if files.is_empty() => Err(Failure::because("there is no source file here")
            .hint("DIRECTORY names the subdirectory the function is in")),
        [] => Err(Failure::because("no handler was given and none was found")
            .hint("give HANDLER=FILE.FUNCTION, for example `main.handler`")),
        many => {
            Err(Failure::because(format!("no handler was given and there are several: `{}`", listed(many)))
                .hint("say which with HANDLER=FILE.FUNCTION"))
        }
    }
}

impl Found {
    fn handler(&self) -> Option<String> {
        Some(format!("{}.{}", self.file.file_stem()?.to_str()?, self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect_in(files: &[(&str, &str)]) -> Result<String, Failure> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        detect(dir.path(), &["py"], |text, name| text.contains(&format!("def {name}(")))
    }

    #[test]
    fn exactly_one_is_used() {
        let one = ("main.py", "def endpoint(event, context): pass");
        assert_eq!(
            detect_in(&[one, ("util.py", "x = 1"), ("notes.txt", "def handler(")]).unwrap(),
            "main.endpoint"
        );
    }

    #[test]
    fn none_and_several_are_explained() {
        let text = |files: &[(&str, &str)]| format!("{:?}", detect_in(files).unwrap_err());
        assert!(text(&[]).contains("no source file"));
        assert!(text(&[("a.py", "x = 1")]).contains("none was found"));
        let several = text(&[("a.py", "def handler("), ("b.py", "def lambda_handler(")]);
        assert!(several.contains("`a.handler`, `b.lambda_handler`"), "{several}");
    }

    #[test]
    fn splitting() {
        assert_eq!(split("a/b.c"), Some(("a/b", "c")));
        assert_eq!(split("a.b.c"), Some(("a.b", "c")));
        for bad in ["", "a", ".a", "a."] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
