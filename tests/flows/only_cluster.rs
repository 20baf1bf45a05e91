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
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr},
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

/// A `tm` that runs, and what it has said so far.
struct Running {
    tm: Child,
    lines: Lines<BufReader<ChildStderr>>,
    seen: String,
}

impl Running {
    fn of(mut tm: Child) -> Result<Self> {
        let stderr = tm.stderr.take().context("its stderr is captured")?;
        Ok(Self { tm, lines: BufReader::new(stderr).lines(), seen: String::new() })
    }

    /// Reads on until a line with `marker` comes.
    async fn until(&mut self, marker: &str) -> Result<()> {
        let found = timeout(LIMIT, async {
            while let Some(line) = self.line().await? {
                if line.contains(marker) {
                    return Ok(());
                }
            }
            anyhow::bail!("tm ended")
        });
        let found = found.await.unwrap_or_else(|_| Err(anyhow::anyhow!("not in {LIMIT:?}")));
        found.with_context(|| format!("no `{marker}` in:\n{}", self.seen))
    }

    /// Waits for its end.
    async fn ended(mut self) -> Result<Ran> {
        let rest = async {
            while self.line().await?.is_some() {}
            anyhow::Ok(())
        };
        timeout(LIMIT * 2, rest).await.context("tm ends in time")??;
        let output = timeout(LIMIT, self.tm.wait_with_output()).await.context("tm ends in time")??;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Ran { code: output.status.code().unwrap_or(-1), stdout, stderr: self.seen })
    }

    async fn line(&mut self) -> Result<Option<String>> {
        let line = self.lines.next_line().await?;
        if let Some(line) = &line {
            self.seen.push_str(line);
            self.seen.push('\n');
        }
        Ok(line)
    }
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
