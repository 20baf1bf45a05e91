//! What only a cluster has: real pods, quotas, rights, networks between, and everything that goes wrong there.

mod access;
mod connection;
mod disruptive;
mod older;
mod pods;
mod registries;
mod traffic;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::machine::{Machine, Ran};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    time::timeout,
};

use crate::support::shell_function;

/// Longest wait for something a cluster does by itself.
const LIMIT: Duration = Duration::from_secs(120);

/// A value of the target's settings.
async fn setting(machine: &Machine, key: &str) -> Result<String> {
    let map = machine.kubectl(["get", "configmap", "tm-config", "-n", "kube-public", "-o", "json"]).await?;
    let map: Value = serde_json::from_str(&map)?;
    Ok(map["data"][key].as_str().with_context(|| format!("tm-config has no {key}: {map}"))?.to_owned())
}

/// A function with so many MiB that cannot be compressed.
fn large_function(machine: &Machine, name: &str, mebibytes: u64) -> Result<String> {
    let folder = shell_function(machine, name, "echo large");
    let mut noise = fs_err::File::create(folder.join("noise"))?;
    std::io::copy(
        &mut std::io::Read::take(fs_err::File::open("/dev/urandom")?, mebibytes << 20),
        &mut noise,
    )?;
    Ok(folder.display().to_string())
}

/// Reads stderr of a running `tm` until `marker` shows up; what was read.
async fn until(tm: &mut Child, marker: &str) -> Result<String> {
    let stderr = tm.stderr.as_mut().context("its stderr is captured")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut seen = String::new();
    let found = timeout(LIMIT, async {
        while let Some(line) = lines.next_line().await? {
            seen.push_str(&line);
            seen.push('\n');
            if line.contains(marker) {
                return Ok(());
            }
        }
        anyhow::bail!("tm ended")
    });
    found.await.context("in time")?.with_context(|| format!("no `{marker}` in:\n{seen}"))?;
    Ok(seen)
}

/// Waits for its end.
async fn ended(tm: Child) -> Result<Ran> {
    let output = timeout(LIMIT * 2, tm.wait_with_output()).await.context("tm ends in time")??;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The command failed with code 1, saying each of `words`.
fn failed_with(ran: &Ran, words: &[&str]) -> Result<()> {
    ensure!(ran.code == 1, "{ran:?}");
    for word in words {
        ensure!(ran.stderr.contains(word), "no `{word}` in:\n{}", ran.stderr);
    }
    Ok(())
}

/// The kubeconfig of the tests, with one context, to be changed.
async fn kubeconfig(machine: &Machine) -> Result<Value> {
    let view = ["config", "view", "--raw", "--flatten", "--minify", "-o", "json"];
    Ok(serde_json::from_str(&machine.kubectl(view).await?)?)
}

/// Writes a changed kubeconfig; its path.
fn write_config(machine: &Machine, name: &str, config: &Value) -> Result<String> {
    let path = machine.path().join(name);
    fs_err::write(&path, config.to_string())?;
    Ok(path.display().to_string())
}
