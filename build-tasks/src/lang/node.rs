//! Node.js: `node_modules` by npm into a layer of its own, our client as the runtime layer.
//!
//! A `build` script (TypeScript, bundlers) gets everything installed, runs, and development packages are pruned after it.
//! Install scripts run: packages with native parts need them, and they run unprivileged in a pod of their own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde_json::Value;
use tm_oci::Digest;

use super::{Build, CODE, DEPENDENCIES, RUNTIME, handler};
use crate::{cache, error::Failure, output, process::Tool, runtimes, tree, workspace::BuildConfig};

/// Bump when what is done to installed trees changes.
const CACHE_VERSION: &[u8] = b"1";
const ENDINGS: &[&str] = &["js", "mjs", "cjs"];
const OLDEST: u32 = 18;
const TYPESCRIPT: &str = "TypeScript needs a `build` script in package.json, and HANDLER names what it makes, such as dist/index.handler";

/// What `package.json` says, as far as it concerns us.
struct Package {
    text: String,
    has_build: bool,
    has_dependencies: bool,
    has_dev_dependencies: bool,
    /// Whether npm runs code of the source itself while it installs.
    has_install_scripts: bool,
}

/// Installs what `package.json` names.
pub(super) async fn deps(build: &Build) -> Result<(), Failure> {
    let layer = build.workspace.fresh_layer(DEPENDENCIES)?;
    let Some(package) = package(build)? else { return Ok(()) };
    if package.has_build {
        return if package.has_dependencies || package.has_dev_dependencies {
            install(build, &[]).await
        } else {
            Ok(())
        };
    }
    if !package.has_dependencies {
        return Ok(());
    }
    let target = layer.join("var/task/node_modules");
    let key = key(build, &package).await?;
    if let Some(key) = &key
        && build.cache.get_tree("node-deps", key, &target)?
    {
        output::line("node-deps: unchanged, taken from the cache");
        return Ok(());
    }
    install(build, &["--omit=dev"]).await?;
    move_modules(build, &target)?;
    if let Some(key) = &key
        && target.is_dir()
    {
        build.cache.put_tree("node-deps", key, &target);
    }
    Ok(())
}

/// Runs the build script, and writes the runtime's layer and the function's.
pub(super) async fn build(build: &Build) -> Result<(), Failure> {
    let major = node_version(build).await?;
    if let Some(package) = package(build)?.filter(|package| package.has_build) {
        npm(build)?.args(["run", "build"]).run().await?;
        if package.has_dependencies || package.has_dev_dependencies {
            npm(build)?.args(["prune", "--omit=dev", "--no-audit", "--no-fund"]).run().await?;
        }
        let target = build.workspace.fresh_layer(DEPENDENCIES)?.join("var/task/node_modules");
        move_modules(build, &target)?;
    }
    let handler = the_handler(build)?;
    let task = build.workspace.fresh_layer(CODE)?.join("var/task");
    tree::copy(build.workspace.source(), &task, &tree::is_leftover)?;
    let runtime = build.workspace.fresh_layer(RUNTIME)?.join("var/runtime");
    fs::create_dir_all(&runtime)?;
    runtimes::write("node", &runtime)?;
    build.workspace.write_config(&config(major, handler))
}

fn config(major: u32, handler: String) -> BuildConfig {
    let path = format!(
        "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task"
    );
    let runtime = format!("nodejs{major}.x");
    let env = BTreeMap::from([
        ("AWS_EXECUTION_ENV".to_owned(), format!("AWS_Lambda_{runtime}")),
        ("NODE_PATH".to_owned(), path),
    ]);
    BuildConfig { runtime, handler, env }
}

fn package(build: &Build) -> Result<Option<Package>, Failure> {
    let text = match fs::read_to_string(build.workspace.source().join("package.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new("failed to read package.json", error)),
    };
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Failure::new("package.json is not valid JSON", error))?;
    let any = |field: &str| value[field].as_object().is_some_and(|members| !members.is_empty());
    let script = |name: &str| value["scripts"][name].is_string();
    let install_scripts = ["preinstall", "install", "postinstall", "prepare", "prepublish"];
    Ok(Some(Package {
        has_build: script("build"),
        has_dependencies: any("dependencies") || any("optionalDependencies") || any("workspaces"),
        has_dev_dependencies: any("devDependencies"),
        has_install_scripts: install_scripts.into_iter().any(script),
        text,
    }))
}

async fn install(build: &Build, more: &[&str]) -> Result<(), Failure> {
    let locked = lock_file(build).is_some();
    if !locked {
        output::note(
            "there is no package-lock.json: the newest versions that package.json allows are installed",
        );
    }
    let verb = if locked { "ci" } else { "install" };
    let tool = npm(build)?.args([verb, "--no-audit", "--no-fund"]).args(more.iter().copied());
    tool.run().await
}

fn lock_file(build: &Build) -> Option<PathBuf> {
    let names = ["npm-shrinkwrap.json", "package-lock.json"];
    names.into_iter().map(|name| build.workspace.source().join(name)).find(|path| path.is_file())
}

/// What the installed tree depends on, if that can be told from files alone.
async fn key(build: &Build, package: &Package) -> Result<Option<Digest>, Failure> {
    let Some(lock) = lock_file(build) else { return Ok(None) };
    let lock = fs::read(lock)?;
    let local = [package.text.as_bytes(), &lock].iter().any(|text| {
        let text = String::from_utf8_lossy(text);
        ["\"file:", "\"link\": true", "\"link:"].iter().any(|mark| text.contains(mark))
    });
    if local || package.has_install_scripts {
        return Ok(None);
    }
    const QUESTION: &str = "console.log(process.versions.modules, process.arch, process.version)";
    let node = build.tool("node")?.args(["-e", QUESTION]).ask().await?.unwrap_or_default();
    let npmrc = fs::read(build.workspace.source().join(".npmrc")).unwrap_or_default();
    Ok(Some(cache::key(&[CACHE_VERSION, node.as_bytes(), package.text.as_bytes(), &lock, &npmrc])))
}

/// Moves what npm installed into the layer, without npm's own notes.
fn move_modules(build: &Build, target: &Path) -> Result<(), Failure> {
    let modules = build.workspace.source().join("node_modules");
    if !modules.is_dir() {
        return Ok(());
    }
    for note in [".package-lock.json", ".cache"] {
        tree::remove(&modules.join(note))?;
    }
    fs::create_dir_all(target.parent().unwrap_or(target))?;
    Ok(fs::rename(&modules, target)?)
}

/// The given handler if its file exists, else the only one there is.
fn the_handler(build: &Build) -> Result<String, Failure> {
    let source = build.workspace.source();
    if build.handler.is_empty() {
        let handler =
            handler::detect(source, ENDINGS, defines).map_err(|failure| explained(failure, source))?;
        output::note(&format!("no handler was given: `{handler}` is used"));
        return Ok(handler);
    }
    // `dir/file.export` or `dir/file.object.export`: the file ends at the first dot of its last component.
    let (dir, last) = build.handler.rsplit_once('/').unwrap_or(("", &build.handler));
    let Some((file, _)) = last.split_once('.').filter(|(file, name)| !file.is_empty() && !name.is_empty())
    else {
        return Err(Failure::because(format!("HANDLER `{}` is not FILE.EXPORT", build.handler))
            .hint("for example `index.handler` for the export `handler` of index.js"));
    };
    let stem = Path::new(dir).join(file);
    let roots = [source.to_owned(), build.workspace.layer(DEPENDENCIES).join("var/task")];
    let exists = roots.iter().any(|root| {
        root.join(&stem).is_dir()
            || ENDINGS.iter().any(|ending| {
                let mut name = root.join(&stem).into_os_string();
                name.push(format!(".{ending}"));
                Path::new(&name).is_file()
            })
    });
    if !exists {
        let file = stem.display();
        return Err(Failure::because(format!(
            "HANDLER `{}` needs {file}.js, {file}.mjs or {file}.cjs, and none is in the source",
            build.handler
        ))
        .hint(TYPESCRIPT));
    }
    Ok(build.handler.clone())
}

/// A source of nothing but TypeScript has no JavaScript to look into.
fn explained(failure: Failure, source: &Path) -> Failure {
    let typescript = fs::read_dir(source).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.path().extension().is_some_and(|e| e == "ts")))
    });
    if typescript || source.join("tsconfig.json").is_file() { failure.hint(TYPESCRIPT) } else { failure }
}

/// Whether a module exports this name.
fn defines(text: &str, name: &str) -> bool {
    text.lines().map(str::trim_start).any(|line| {
        let after = |prefix: &str| line.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(name));
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let assigned = ["exports.", "module.exports."].into_iter().find_map(after);
        let exported = ["const", "let", "var", "function", "async function"]
            .into_iter()
            .find_map(|word| after(&format!("export {word} ")));
        let listed = line.strip_prefix("export {").or_else(|| line.strip_prefix("module.exports = {"));
        assigned.is_some_and(|rest| rest.trim_start().starts_with('='))
            || exported.is_some_and(ends)
            || listed.is_some_and(|rest| {
                rest.split([',', '}', ':'])
                    .any(|word| word.trim() == name || word.trim().ends_with(&format!(" as {name}")))
            })
    })
}

async fn node_version(build: &Build) -> Result<u32, Failure> {
    let answer = build.tool("node")?.args(["--version"]).ask().await?.unwrap_or_default();
    let major = answer.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    match major {
        Some(major) if major >= OLDEST => Ok(major),
        Some(major) => Err(Failure::because(format!("Node.js {major} is too old"))
            .hint(format!("give a BUILD_IMAGE with Node.js {OLDEST} or newer"))),
        None => Err(Failure::because("`node` does not say which version it is")),
    }
}

/// npm with a cache that can be written, and nothing to say about itself.
fn npm(build: &Build) -> Result<Tool, Failure> {
    let tool = build.tool("npm")?.env("npm_config_cache", build.tool_cache("npm")?);
    Ok(tool.env("npm_config_update_notifier", "false").env("npm_config_progress", "false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_in_their_many_forms() {
        for yes in [
            "exports.handler = async () => 1",
            "module.exports.handler = f;",
            "export const handler = async (e) => e",
            "export async function handler(e) {}",
            "export { handler };",
            "export { main as handler }",
            "module.exports = { handler, other };",
            "module.exports = { handler: f }",
        ] {
            assert!(defines(yes, "handler"), "{yes}");
        }
        for no in
            ["const handler = 1", "exports.handlers = 1", "export const handlerX = 1", "exports.handler()"]
        {
            assert!(!defines(no, "handler"), "{no}");
        }
    }
}
