//! A base image with Python, made from the distribution's packages and imported: no registry has it.
//!
//! The tar is kept below cargo's target folder under a name that says how it was made.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use sha2::{Digest, Sha256};
use tokio::{process::Command, time::timeout};

use crate::dockerd::Dockerd;

/// Its name.
pub(crate) const NAME: &str = "tm-test/base:1";

/// Certificates this machine trusts, perhaps with those of a proxy.
const MACHINE_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where the image has them.
const CERTIFICATES: &str = "/etc/ssl/machine.pem";
/// How to reach the package index from here, if that takes more.
const INDEX: [&str; 4] = ["PIP_INDEX_URL", "PIP_TRUSTED_HOST", "HTTPS_PROXY", "NO_PROXY"];
/// Longest time to make it: it is downloaded.
const MAKE_LIMIT: Duration = Duration::from_secs(600);

/// Puts it into the Docker engine.
pub(crate) async fn import(dockerd: &Dockerd) -> Result<()> {
    let tar = made().await?.display().to_string();
    let mut changes = vec!["ENV PATH=/usr/local/bin:/usr/bin:/bin".to_owned()];
    changes.push(format!("ENV PIP_CERT={CERTIFICATES}"));
    let set = INDEX.iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    changes.extend(set.map(|(name, value)| format!("ENV {name}={value}")));
    let mut args = vec!["import"];
    args.extend(changes.iter().flat_map(|change| ["--change", change]));
    args.extend([tar.as_str(), NAME]);
    dockerd.docker(&args).await.map(drop)
}

/// The tar, from the cache or made now.
async fn made() -> Result<PathBuf> {
    let upload = format!("--customize-hook=upload {MACHINE_CERTIFICATES} {CERTIFICATES}");
    let recipe = ["--variant=minbase", "--include=python3,python3-pip,ca-certificates", &upload, "bookworm"];
    let mut hash = Sha256::new();
    hash.update(recipe.join("\n"));
    hash.update(fs::read(MACHINE_CERTIFICATES).unwrap_or_default());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("docker-base");
    fs::create_dir_all(&folder)?;
    let tar = folder.join(format!("{}.tar", hex::encode(hash.finalize())));
    if tar.is_file() {
        return Ok(tar);
    }
    let fresh =
        tempfile::Builder::new().prefix("base-").suffix(".tar").tempfile_in(&folder)?.into_temp_path();
    let mut command = Command::new("mmdebstrap");
    command.args(recipe).arg(&fresh).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(MAKE_LIMIT, command.output()).await.context("mmdebstrap ends in time")??;
    ensure!(output.status.success(), "mmdebstrap: {}", String::from_utf8_lossy(&output.stderr));
    fresh.persist(&tar)?;
    Ok(tar)
}
