//! Languages: each calls its own tools and leaves trees of image paths in `out/layers` and `out/config.json`.

mod custom;
mod elf;
mod extensions;
mod go;
mod handler;
mod node;
mod python;

use std::path::PathBuf;

use tokio::time::Instant;

use crate::{
    cache::Cache,
    cli::{LangArgs, Language, Stage},
    error::Failure,
    process::Tool,
    workspace::Workspace,
};

/// Layer of the language's client, in `/var/runtime`.
const RUNTIME: &str = "runtime";
/// Layer of what the function depends on, in `/var/task`.
const DEPENDENCIES: &str = "dependencies";
/// Layer of the function, in `/var/task`.
const CODE: &str = "code";

/// What each language needs to do its work.
struct Build {
    workspace: Workspace,
    cache: Cache,
    handler: String,
    deadline: Instant,
}

/// Runs one stage of one language.
pub(crate) async fn run(args: &LangArgs) -> Result<(), Failure> {
    let build = Build {
        workspace: Workspace::open(&args.workspace, &args.directory)?,
        cache: Cache::from_environment(),
        handler: args.handler.trim().to_owned(),
        deadline: Instant::now() + args.timeout,
    };
    match (args.language, args.stage) {
        (Language::Go, Stage::Deps) => go::deps(&build).await,
        (Language::Go, Stage::Build) => go::build(&build).await,
        (Language::Python, Stage::Deps) => python::deps(&build).await,
        (Language::Python, Stage::Build) => python::build(&build).await,
        (Language::Node, Stage::Deps) => node::deps(&build).await,
        (Language::Node, Stage::Build) => node::build(&build).await,
        (Language::Custom, Stage::Deps) => Ok(()),
        (Language::Custom, Stage::Build) => custom::build(&build),
    }?;
    match args.stage {
        Stage::Deps => Ok(()),
        Stage::Build => extensions::build(&build),
    }
}

// === impl Build ===

impl Build {
    /// A tool in the source folder, with a home and a place for temporary files that can be written.
    fn tool(&self, program: &str) -> Result<Tool, Failure> {
        let tool = Tool::new(program, self.workspace.source(), self.deadline);
        let tool = tool.env("TMPDIR", self.workspace.scratch("tmp")?);
        Ok(if home_is_usable() { tool } else { tool.env("HOME", self.workspace.scratch("home")?) })
    }

    /// A folder for a tool's own cache: one that outlives the build if there is one.
    fn tool_cache(&self, name: &str) -> Result<PathBuf, Failure> {
        match self.cache.tool_folder(name) {
            Some(dir) => Ok(dir),
            None => self.workspace.scratch(&format!("cache/{name}")),
        }
    }
}

fn home_is_usable() -> bool {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .is_some_and(|home| tempfile::tempfile_in(home).is_ok())
}
