//! Fetches a git repository with the machine's own `git`, no more of it than the revision where the server lets. The URL and revision are arguments, never part of a command line;
//! a user and password in the URL are neither: [`Repository`] hands them over by git's environment.

mod repository;

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{process::Command, time::timeout};

use self::repository::Repository;
use crate::{error::HintExt, userinfo};

/// Longest time of a clone.
const LIMIT: Duration = Duration::from_secs(600);

/// The branch the first tm took by default; where a repository has none of that name, its own default is meant.
const OLD_DEFAULT: &str = "master";

/// Variables that would lead git to another repository, as they are set in a hook (`git rev-parse --local-env-vars`).
const ELSEWHERE: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
];

/// Clones into `source` of a temporary folder.
pub(super) async fn clone(url: &str, revision: &str) -> Result<tempfile::TempDir> {
    if url.starts_with('-') || revision.starts_with('-') {
        bail!("`{}` at `{revision}` is no git source", userinfo::shown(url));
    }
    let repository = Repository::of(url)?;
    let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
    let target = folder.path().join("source");
    let failure = timeout(LIMIT, fetch(&repository, revision, &target)).await;
    let failure = failure.with_context(|| format!("git did not finish within {} s", LIMIT.as_secs()))??;
    match failure {
        None => Ok(folder),
        Some(reason) => {
            Err(anyhow::anyhow!(reason)
                .context(format!("failed to clone `{}` at `{revision}`", repository.url)))
            .hint("check the URL, and the branch, tag or commit given with --revision")
        }
    }
}

/// Fetches what `revision` means: a branch or tag, else a commit. `Some` is what git said when it failed.
async fn fetch(repository: &Repository, revision: &str, target: &Path) -> Result<Option<String>> {
    let Some(reason) = clone_branch(repository, Some(revision), target).await? else { return Ok(None) };
    if revision == OLD_DEFAULT {
        return clone_branch(repository, None, target).await;
    }
    let found = fetch_commit(repository, revision, target).await?;
    Ok((!found).then_some(reason))
}

/// Fetches a commit by its id or by a ref's whole name; says whether it is there.
async fn fetch_commit(repository: &Repository, revision: &str, target: &Path) -> Result<bool> {
    let fetch = ["fetch", "--quiet", "--depth", "1", "--", &repository.url, revision];
    if in_folder(repository, target, &["init", "--quiet"]).await?.is_some() {
        return Ok(false);
    }
    if in_folder(repository, target, &fetch).await?.is_none() {
        return checkout(repository, target, "FETCH_HEAD").await;
    }
    if !may_be_commit(revision) {
        return Ok(false);
    }
    // Servers need not give out what no branch or tag names, and know no short ids: everything, then.
    let everything =
        ["fetch", "--quiet", "--tags", "--", &repository.url, "+refs/heads/*:refs/remotes/origin/*"];
    if in_folder(repository, target, &everything).await?.is_some() {
        return Ok(false);
    }
    checkout(repository, target, revision).await
}

async fn checkout(repository: &Repository, target: &Path, commit: &str) -> Result<bool> {
    let failure = in_folder(repository, target, &["checkout", "--quiet", "--detach", commit]).await?;
    Ok(failure.is_none())
}

/// Whether a word can be a commit's id, whole or its begin as git prints it.
fn may_be_commit(word: &str) -> bool {
    (7..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Runs git in the folder, which is made if need be.
async fn in_folder(repository: &Repository, folder: &Path, args: &[&str]) -> Result<Option<String>> {
    fs_err::create_dir_all(folder).context("failed to make a temporary folder")?;
    let mut command = git(repository);
    command.arg("-C").arg(folder).args(args);
    run(command).await
}

async fn clone_branch(
    repository: &Repository,
    branch: Option<&str>,
    target: &Path,
) -> Result<Option<String>> {
    let mut command = git(repository);
    command.args(["clone", "--quiet", "--depth", "1"]);
    if let Some(branch) = branch {
        command.args(["--branch", branch]);
    }
    command.arg("--").arg(&repository.url).arg(target);
    run(command).await
}

fn git(repository: &Repository) -> Command {
    let mut command = Command::new("git");
    for variable in ELSEWHERE {
        command.env_remove(variable);
    }
    command.envs(repository.environment()).env("GIT_TERMINAL_PROMPT", "0");
    command
}

/// Runs git; `Some` is what it said when it failed.
async fn run(mut command: Command) -> Result<Option<String>> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("failed to run `git`").hint("install git, or give a directory")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(said))
}
