//! Python: dependencies by pip into a layer of their own, AWS's Runtime Interface Client as the runtime layer.
//!
//! pip leaves traces that differ from run to run (bytecode, where a wheel came from, the order of `RECORD`); they are
//! taken out, so that the same requirements give the same layer.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fs_err as fs;
use tm_oci::Digest;

use super::{Build, CODE, DEPENDENCIES, RUNTIME, handler};
use crate::{cache, error::Failure, output, process::Tool, runtimes, tree, workspace::BuildConfig};

/// AWS's client and what it needs, pinned: the same Task gives the same runtime layer tomorrow.
const CLIENT: &[&str] = &["awslambdaric==4.2.2", "simplejson==4.3.0", "snapshot-restore-py==1.0.0"];
/// Bump when what is done to installed trees changes.
const CACHE_VERSION: &[u8] = b"1";
const OLDEST: (u32, u32) = (3, 10);

/// The interpreter.
struct Python {
    program: &'static str,
    /// Such as `3.12`.
    version: String,
    /// Such as `cpython-312-x86_64-linux-gnu`.
    abi: String,
}

/// Installs what `requirements.txt` names.
pub(super) async fn deps(build: &Build) -> Result<(), Failure> {
    let requirements = build.workspace.source().join("requirements.txt");
    let layer = build.workspace.fresh_layer(DEPENDENCIES)?;
    let Some(text) = read_requirements(&requirements)? else { return Ok(()) };
    let python = interpreter(build).await?;
    let task = layer.join("var/task");
    let key = is_self_contained(&text)
        .then(|| cache::key(&[CACHE_VERSION, python.abi.as_bytes(), text.as_bytes()]));
    let install: Vec<&str> = vec!["-r", "requirements.txt"];
    install_cached(build, &python, "python-deps", key, &install, &task).await
}

/// Writes the runtime's layer and the function's.
pub(super) async fn build(build: &Build) -> Result<(), Failure> {
    let python = interpreter(build).await?;
    let handler = the_handler(build)?;
    let task = build.workspace.fresh_layer(CODE)?.join("var/task");
    tree::copy(build.workspace.source(), &task, &tree::is_leftover)?;
    let runtime = build.workspace.fresh_layer(RUNTIME)?.join("var/runtime");
    let key = cache::key(&[CACHE_VERSION, python.abi.as_bytes(), CLIENT.join(" ").as_bytes()]);
    let mut install = CLIENT.to_vec();
    install.push("--no-deps");
    install_cached(build, &python, "python-runtime", Some(key), &install, &runtime).await?;
    runtimes::write("python", &runtime)?;
    build.workspace.write_config(&config(&python, handler))
}

fn config(python: &Python, handler: String) -> BuildConfig {
    let runtime = format!("python{}", python.version);
    let env = BTreeMap::from([
        ("AWS_EXECUTION_ENV".to_owned(), format!("AWS_Lambda_{runtime}")),
        ("PYTHONPATH".to_owned(), "/var/runtime".to_owned()),
    ]);
    BuildConfig { runtime, handler, env }
}

/// The requirements, if there are any.
fn read_requirements(path: &Path) -> Result<Option<String>, Failure> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new("failed to read the requirements", error)),
    };
    let any = text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(any.then_some(text))
}

/// Whether the text alone says what is installed: no other files, folders, repositories or indexes.
fn is_self_contained(text: &str) -> bool {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).all(|line| {
        let options_only_hashes = !line.starts_with('-') || line.starts_with("--hash");
        options_only_hashes && !line.contains("://") && !line.contains("./") && !line.starts_with('/')
    })
}

/// Installs into `to`, or copies what an earlier build with the same key installed.
async fn install_cached(
    build: &Build,
    python: &Python,
    kind: &str,
    key: Option<Digest>,
    what: &[&str],
    to: &Path,
) -> Result<(), Failure> {
    if let Some(key) = &key
        && build.cache.get_tree(kind, key, to)?
    {
        output::line(&format!("{kind}: unchanged, taken from the cache"));
        return Ok(());
    }
    fs::create_dir_all(to)?;
    need_pip(build, python).await?;
    let pip = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-compile"];
    let tool = tool(build, python.program)?.args(pip).args(["--no-warn-script-location", "--target"]);
    tool.args([to.as_os_str()]).args(what).run().await?;
    neutralise(to)?;
    if let Some(key) = &key {
        build.cache.put_tree(kind, key, to);
    }
    Ok(())
}

/// Some distributions ship Python without it, and then say `No module named pip`.
async fn need_pip(build: &Build, python: &Python) -> Result<(), Failure> {
    match tool(build, python.program)?.args(["-m", "pip", "--version"]).ask().await? {
        Some(_) => Ok(()),
        None => Err(Failure::because(format!("`{}` has no pip", python.program))
            .hint("install pip (Debian: python3-pip), or give a BUILD_IMAGE that has it")),
    }
}

/// Takes out what differs between two installations of the same.
fn neutralise(root: &Path) -> Result<(), Failure> {
    for path in tree::walk(root, &|_| false)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let in_info = path.parent().and_then(Path::extension).is_some_and(|e| e == "dist-info");
        let trace = in_info && ["direct_url.json", "INSTALLER", "REQUESTED"].contains(&name);
        if trace || name == "__pycache__" || name.ends_with(".pyc") {
            tree::remove(&root.join(&path))?;
        } else if in_info && name == "RECORD" {
            sort_record(&root.join(&path))?;
        }
    }
    Ok(())
}

/// `RECORD` lists each file with its digest, in the order pip happened to write them.
fn sort_record(path: &Path) -> Result<(), Failure> {
    let text = fs::read_to_string(path)?;
    let gone = |line: &str| {
        let file = line.split(',').next().unwrap_or_default();
        let traces = ["/direct_url.json", "/INSTALLER", "/REQUESTED", ".pyc"];
        traces.iter().any(|trace| file.ends_with(trace))
    };
    let mut lines: Vec<&str> = text.lines().filter(|line| !gone(line)).collect();
    lines.sort_unstable();
    Ok(fs::write(path, lines.join("\n") + "\n")?)
}

/// The given handler if its file exists, else the only one there is.
fn the_handler(build: &Build) -> Result<String, Failure> {
    let source = build.workspace.source();
    if build.handler.is_empty() {
        let handler = handler::detect(source, &["py"], defines)?;
        output::note(&format!("no handler was given: `{handler}` is used"));
        return Ok(handler);
    }
    let Some((module, _)) = handler::split(&build.handler) else {
        return Err(Failure::because(format!("HANDLER `{}` is not FILE.FUNCTION", build.handler))
            .hint("for example `main.handler` for `def handler` in main.py"));
    };
    let path = PathBuf::from(module.replace('.', "/"));
    let roots = [source.to_owned(), build.workspace.layer(DEPENDENCIES).join("var/task")];
    let exists = |root: &PathBuf| {
        root.join(&path).with_extension("py").is_file()
            || root.join(&path).is_dir()
            || has_extension_module(root, &path)
    };
    if !roots.iter().any(exists) {
        return Err(Failure::because(format!(
            "HANDLER `{}` needs {}.py, which is not in the source",
            build.handler,
            path.display()
        ))
        .hint("HANDLER is FILE.FUNCTION, and DIRECTORY names the subdirectory the function is in"));
    }
    Ok(build.handler.clone())
}

/// Whether the module is a compiled one, such as `main.cpython-312-x86_64-linux-gnu.so`.
fn has_extension_module(root: &Path, path: &Path) -> bool {
    let Some(stem) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let Ok(entries) = fs::read_dir(root.join(path).parent().unwrap_or(root)) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_str().is_some_and(|name| {
            name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".so"))
        })
    })
}

/// Whether a module's text defines this function at the top level.
fn defines(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let rest = line.strip_prefix("async ").unwrap_or(line);
        let named = rest.strip_prefix("def ").map(str::trim_start).and_then(|rest| rest.strip_prefix(name));
        let assigned = line.strip_prefix(name).map(str::trim_start);
        named.is_some_and(|rest| rest.trim_start().starts_with('('))
            || assigned.is_some_and(|rest| rest.starts_with('=') && !rest.starts_with("=="))
    })
}

/// Asks the interpreter for its version.
async fn interpreter(build: &Build) -> Result<Python, Failure> {
    const QUESTION: &str = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2]); \
                            print(sysconfig.get_config_var('SOABI') or sys.implementation.cache_tag)";
    let program = if on_path("python3") { "python3" } else { "python" };
    let program = if on_path(program) { program } else { "python3" };
    let answer = tool(build, program)?.args(["-I", "-c", QUESTION]).ask().await?;
    let answer =
        answer.ok_or_else(|| Failure::because(format!("`{program}` does not say which version it is")))?;
    let mut lines = answer.lines().map(|line| line.trim().to_owned());
    let (version, abi) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let numbers = version.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match numbers {
        Some(numbers) if numbers >= OLDEST => Ok(Python { program, version, abi }),
        Some(_) => Err(Failure::because(format!("Python {version} is too old for AWS's runtime client"))
            .hint(format!("give a BUILD_IMAGE with Python {}.{} or newer", OLDEST.0, OLDEST.1))),
        None => Err(Failure::because(format!("`{program}` gave no version but `{version}`"))),
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Python with a cache that can be written, and without the user's own packages.
fn tool(build: &Build, program: &str) -> Result<Tool, Failure> {
    let tool = build.tool(program)?.env("PIP_CACHE_DIR", build.tool_cache("pip")?);
    Ok(tool.env("PYTHONNOUSERSITE", "1").env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_functions_only() {
        assert!(defines("import os\ndef handler(event, context):\n", "handler"));
        assert!(defines("async def handler (e, c): pass", "handler"));
        assert!(defines("handler = make()", "handler"));
        for no in ["    def handler(self): pass", "def handler2(): pass", "handler == 1", "# def handler("] {
            assert!(!defines(no, "handler"), "{no}");
        }
    }

    #[test]
    fn requirements_that_may_be_cached() {
        assert!(is_self_contained("# x\nrequests==2.0\nboto3\n--hash=sha256:1\n"));
        for no in ["-r other.txt", "-e .", "./local", "git+https://x/y", "--index-url https://x", "/abs"] {
            assert!(!is_self_contained(no), "{no}");
        }
    }

    #[test]
    fn traces_of_pip_are_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("x-1.dist-info");
        fs::create_dir_all(dir.path().join("x/__pycache__")).unwrap();
        fs::create_dir_all(&info).unwrap();
        for name in ["INSTALLER", "REQUESTED", "direct_url.json", "METADATA"] {
            fs::write(info.join(name), "x").unwrap();
        }
        fs::write(
            info.join("RECORD"),
            "x/b.py,,\nx-1.dist-info/INSTALLER,,\nx/a.py,,\nx/__pycache__/a.pyc,,\n",
        )
        .unwrap();
        neutralise(dir.path()).unwrap();
        let left = tree::walk(dir.path(), &|_| false).unwrap();
        let left: Vec<_> = left.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(left, ["x", "x-1.dist-info", "x-1.dist-info/METADATA", "x-1.dist-info/RECORD"]);
        assert_eq!(fs::read_to_string(info.join("RECORD")).unwrap(), "x/a.py,,\nx/b.py,,\n");
    }
}
