//! Takes a cluster down, also a half-made one, and proves that nothing is left of it.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use crate::{
    cgroups, control_plane,
    daemons::{self, LOOK},
    dns, network, node, registries,
    say::{self, Stages},
    settings::Settings,
};

/// How long processes may take to be gone after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(30);
/// Mounts may lie on mounts.
const ROUNDS: usize = 10;

/// Takes everything down.
pub(crate) async fn down(settings: &Settings) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "a cluster needs root\nhint: sudo tests/cluster/down");
    let stages = Stages::new();
    stages.run("components", stop(settings)).await?;
    stages.run("pods and whatever else is left", kill_all(settings)).await?;
    stages.run("mounts, network, cgroups, files", remove(settings)).await?;
    let left = left_over(settings).await?;
    if !left.is_empty() {
        bail!("`down` left something behind:\n  {}", left.join("\n  "));
    }
    say::note(&format!("down after {:.1} s, nothing left", stages.seconds()));
    Ok(())
}

/// kubelet first, or it would start pods again.
async fn stop(settings: &Settings) -> Result<()> {
    daemons::stop(settings, node::NAMES).await?;
    daemons::stop(settings, dns::NAMES).await?;
    daemons::stop(settings, registries::NAMES).await?;
    daemons::stop(settings, control_plane::NAMES).await
}

/// Kills what is in the cluster's cgroup or network namespace until nothing is.
async fn kill_all(settings: &Settings) -> Result<()> {
    daemons::stop(settings, &[node::RUNTIME]).await?;
    let end = Instant::now() + PATIENCE;
    loop {
        let left = processes(settings)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("processes do not end: {left:?}");
        }
        for pid in left {
            // Gone is fine.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(LOOK).await;
    }
}

/// Processes of the cluster: of its cgroup, of its network namespace, or started from its folder.
fn processes(settings: &Settings) -> Result<BTreeSet<i32>> {
    let mut all: BTreeSet<i32> = cgroups::processes(settings)?.into_iter().collect();
    let namespace = fs::metadata(settings.namespace()).ok().map(|meta| meta.ino());
    let state = settings.state.display().to_string();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let of_namespace = || fs::metadata(entry.path().join("ns/net")).ok().map(|meta| meta.ino());
        let named = || is_shim(&fs::read(entry.path().join("cmdline")).unwrap_or_default(), &state);
        if namespace.is_some() && of_namespace() == namespace || named() {
            all.insert(pid);
        }
    }
    all.remove(&i32::try_from(std::process::id()).context("a process number fits")?);
    all.retain(|pid| is_alive(*pid));
    Ok(all)
}

/// A shim is told its socket's folder, which is in the state folder.
fn is_shim(cmdline: &[u8], state: &str) -> bool {
    let text = String::from_utf8_lossy(cmdline);
    text.starts_with("/usr/bin/containerd-shim") && text.contains(&format!("{state}/"))
}

/// Not gone, and not merely waiting to be reaped.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|text| text.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

async fn remove(settings: &Settings) -> Result<()> {
    unmount(settings)?;
    network::remove(settings).await?;
    node::remove_strays(settings)?;
    cgroups::remove(settings)?;
    if settings.state.exists() {
        // Only after the check above: what is mounted below would be emptied.
        fs::remove_dir_all(&settings.state)?;
    }
    Ok(())
}

fn unmount(settings: &Settings) -> Result<()> {
    for _ in 0..ROUNDS {
        let mut mounts = mounts(settings)?;
        if mounts.is_empty() {
            return Ok(());
        }
        // The deepest first.
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.as_os_str().len()));
        for mount in mounts {
            if umount2(&mount, MntFlags::UMOUNT_NOFOLLOW).is_err() {
                let _ = umount2(&mount, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
            }
        }
    }
    bail!("still mounted: {:?}", mounts(settings)?)
}

fn mounts(settings: &Settings) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let point = |line: &str| line.split_whitespace().nth(4).map(|path| PathBuf::from(unescape(path)));
    Ok(text.lines().filter_map(point).filter(|path| path.starts_with(&settings.state)).collect())
}

/// The kernel writes blanks as `\040`.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// Everything that should not be there any more.
pub(crate) async fn left_over(settings: &Settings) -> Result<Vec<String>> {
    let mut left: Vec<String> =
        processes(settings)?.into_iter().map(|pid| format!("process {pid}")).collect();
    left.extend(mounts(settings)?.into_iter().map(|mount| format!("mount {}", mount.display())));
    left.extend(network::left_over(settings).await?);
    left.extend(cgroups::left_over(settings)?);
    if settings.state.exists() {
        left.push(format!("folder {}", settings.state.display()));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_shims_are_ours() {
        let ours = b"/usr/bin/containerd-shim-runc-v2\0-address\0/state/containerd/containerd.sock\0";
        assert!(is_shim(ours, "/state"));
        assert!(!is_shim(ours, "/stat"));
        assert!(!is_shim(
            b"/usr/bin/containerd-shim-runc-v2\0-address\0/run/containerd/containerd.sock\0",
            "/state"
        ));
        assert!(!is_shim(b"vi\0/state/x", "/state"));
    }

    #[tokio::test]
    async fn a_place_where_nothing_was_is_clean_and_a_file_is_found() {
        let root = tempfile::tempdir().unwrap();
        // Neither a developer's number nor CI's, whose clusters may run.
        let settings = Settings::new(8, root.path().join("state"), root.path().join("cache")).unwrap();
        assert_eq!(left_over(&settings).await.unwrap(), Vec::<String>::new());
        fs::create_dir(&settings.state).unwrap();
        assert_eq!(left_over(&settings).await.unwrap(), [format!("folder {}", settings.state.display())]);
    }
}
