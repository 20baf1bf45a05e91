//! Go: one static binary, `bootstrap`. Sources need no `go.mod`; a ready `bootstrap` is taken as it is.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{Build, CODE, custom};
use crate::{error::Failure, output, process::Tool, workspace::BuildConfig};

/// Name of the module that is made for sources without one.
const MODULE: &str = "function";
/// Older clients speak a protocol that only Lambda's retired go1.x runtime had.
const FIRST_WITH_RUNTIME_API: (u64, u64) = (1, 18);

/// Downloads the modules.
pub(super) async fn deps(build: &Build) -> Result<(), Failure> {
    if is_ready_made(build)? {
        return Ok(());
    }
    if has_module(build) {
        let root = module_root(build);
        if root.join("vendor").is_dir() {
            return Ok(());
        }
        let complete = root.join("go.sum").is_file();
        if !complete {
            output::note("there is no go.sum: it is made, with the checksums of today");
        }
        return go(build)?.args(["mod", if complete { "download" } else { "tidy" }]).run().await;
    }
    output::note("there is no go.mod: a module is made from the imports, with the newest versions");
    go(build)?.args(["mod", "init", MODULE]).run().await?;
    go(build)?.args(["mod", "tidy"]).run().await
}

/// Compiles.
pub(super) async fn build(build: &Build) -> Result<(), Failure> {
    if is_ready_made(build)? {
        return custom::build(build);
    }
    let package = package(build);
    check_package(build, &package).await?;
    warn_if_client_is_old(build).await?;
    let bootstrap = build.workspace.fresh_layer(CODE)?.join("var/task/bootstrap");
    let compile = go(build)?.args(["build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc"]);
    let compile = compile.args(["-ldflags", "-s -w -buildid=", "-o"]).args([bootstrap.as_os_str()]);
    compile.args([package]).run().await?;
    build.workspace.write_config(&BuildConfig {
        runtime: "provided".into(),
        handler: if build.handler.is_empty() { "bootstrap".into() } else { build.handler.clone() },
        ..BuildConfig::default()
    })
}

/// Whether there is a `bootstrap` and nothing to compile.
fn is_ready_made(build: &Build) -> Result<bool, Failure> {
    let source = build.workspace.source();
    let has_sources = has_go_files(source)? || has_module(build);
    if !has_sources && !custom::has_bootstrap(source) {
        return Err(Failure::because("there are no Go files and no `bootstrap` in the source")
            .hint("DIRECTORY names the subdirectory the function is in"));
    }
    Ok(!has_sources)
}

fn has_go_files(dir: &Path) -> Result<bool, Failure> {
    for entry in fs::read_dir(dir)? {
        if entry?.path().extension().is_some_and(|e| e == "go") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_module(build: &Build) -> bool {
    module_root(build).join("go.mod").is_file()
}

/// The nearest folder with a `go.mod`, as far up as the source goes.
fn module_root(build: &Build) -> PathBuf {
    let top = build.workspace.whole_source();
    let inside = build.workspace.source().ancestors().take_while(|dir| dir.starts_with(&top));
    let found = inside.into_iter().find(|dir| dir.join("go.mod").is_file());
    found.unwrap_or(build.workspace.source()).to_owned()
}

/// The package to compile: what the handler names if it is a folder with Go files, else this one.
fn package(build: &Build) -> String {
    let handler = build.handler.trim_start_matches("./");
    let dir = build.workspace.source().join(handler);
    let plain = !handler.is_empty()
        && Path::new(handler).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if plain && dir.is_dir() && has_go_files(&dir).unwrap_or(false) {
        return format!("./{handler}");
    }
    ".".into()
}

/// `go build` of a library succeeds and leaves something that cannot run.
async fn check_package(build: &Build, package: &str) -> Result<(), Failure> {
    let name = go(build)?.args(["list", "-f", "{{.Name}}", package]).ask().await?;
    match name.as_deref() {
        None | Some("main" | "") => Ok(()),
        Some(name) => Err(Failure::because(format!("the Go package is `{name}` and not `main`"))
            .hint("HANDLER or DIRECTORY may name the folder of the main package")),
    }
}

async fn warn_if_client_is_old(build: &Build) -> Result<(), Failure> {
    let client = "github.com/aws/aws-lambda-go";
    let version = go(build)?.args(["list", "-m", "-f", "{{.Version}}", client]).ask().await?;
    if let Some(version) = version.filter(|version| is_old(version)) {
        output::note(&format!(
            "{client} {version} is too old to run outside AWS: `go get -u {client}` helps"
        ));
    }
    Ok(())
}

fn is_old(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(|part| part.parse::<u64>());
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < FIRST_WITH_RUNTIME_API,
        _ => false,
    }
}

/// Go for Linux without C, with caches that can be written.
fn go(build: &Build) -> Result<Tool, Failure> {
    let tool = build.tool("go")?.env("CGO_ENABLED", "0").env("GOOS", "linux");
    let tool = tool.env("GOCACHE", build.tool_cache("go-build")?);
    // Without this the modules' folders are read-only and the workspace could not be removed.
    let tool = tool.env("GOMODCACHE", build.tool_cache("go-mod")?);
    let flags = std::env::var("GOFLAGS").unwrap_or_default();
    Ok(tool.env("GOFLAGS", format!("{flags} -modcacherw").trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients() {
        assert!(is_old("v1.6.0") && is_old("v1.17.9"));
        assert!(!is_old("v1.18.0") && !is_old("v1.49.0") && !is_old("v2.0.0") && !is_old(""));
    }
}
