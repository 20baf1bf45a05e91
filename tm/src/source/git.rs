//! Clones a git repository with the machine's own `git`. The URL and revision are arguments, never part of a command line.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{process::Command, time::timeout};

use crate::error::HintExt;

/// Longest time of a clone.
const LIMIT: Duration = Duration::from_secs(600);

/// The branch the first tm took by default; where a repository has none of that name, its own default is meant.
const OLD_DEFAULT: &str = "master";

/// Clones into `source` of a temporary folder.
pub(super) async fn clone(url: &str, revision: &str) -> Result<tempfile::TempDir> {
    if url.starts_with('-') || revision.starts_with('-') {
        bail!("`{url}` at `{revision}` is no git source");
    }
    let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
    let first = run(url, Some(revision), &folder).await?;
    let second =
        if first.is_some() && revision == OLD_DEFAULT { run(url, None, &folder).await? } else { first };
    match second {
        None => Ok(folder),
        Some(reason) => {
            Err(anyhow::anyhow!(reason).context(format!("failed to clone `{url}` at `{revision}`")))
                .hint("check the URL, and the branch or tag given with --revision")
        }
    }
}

/// Runs git; `Some` is what it said when it failed.
async fn run(url: &str, revision: Option<&str>, folder: &tempfile::TempDir) -> Result<Option<String>> {
    let target = folder.path().join("source");
    let _ = fs_err::remove_dir_all(&target);
    let mut command = Command::new("git");
    command.args(["clone", "--quiet", "--depth", "1"]);
    if let Some(revision) = revision {
        command.args(["--branch", revision]);
    }
    command.arg("--").arg(url).arg(&target);
    command.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(LIMIT, command.output()).await.context("git did not finish in time")?;
    let output = output.context("failed to run `git`").hint("install git, or give a directory")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(said))
}
