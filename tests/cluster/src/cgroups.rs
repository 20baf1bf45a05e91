//! The cluster's cgroup: components and pods are below it in every hierarchy, so nothing escapes `down`.
//!
//! Works with version 1's hierarchies, version 2's single one, and both mounted side by side.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;

use crate::settings::Settings;

const ROOT: &str = "/sys/fs/cgroup";
/// The components' own; kubelet makes `kubepods` beside it.
const COMPONENTS: &str = "components";

/// Makes the cgroup in each hierarchy.
pub(crate) fn make(settings: &Settings) -> Result<()> {
    for hierarchy in hierarchies()? {
        let ours = hierarchy.join(settings.name());
        for folder in [ours.clone(), ours.join(COMPONENTS)] {
            fs::create_dir_all(&folder)?;
            // Version 1's cpuset starts empty, and nothing may run in an empty one.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let parent = folder.parent().context("a cgroup has a parent")?.join(file);
                if hierarchy.ends_with("cpuset") && parent.exists() {
                    fs::write(folder.join(file), fs::read_to_string(parent)?)?;
                }
            }
        }
        delegate(&hierarchy, &ours)?;
    }
    Ok(())
}

/// Version 2 hands a controller down only when told to.
fn delegate(hierarchy: &Path, ours: &Path) -> Result<()> {
    let Ok(controllers) = fs::read_to_string(hierarchy.join("cgroup.controllers")) else { return Ok(()) };
    for controller in controllers.split_whitespace() {
        for folder in [hierarchy, ours] {
            // One that cannot be handed down is one that kubelet will do without or complain about.
            drop(fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")));
        }
    }
    Ok(())
}

/// Puts a process among the components.
pub(crate) fn adopt(settings: &Settings, pid: i32) -> Result<()> {
    for hierarchy in hierarchies()? {
        let procs = hierarchy.join(settings.name()).join(COMPONENTS).join("cgroup.procs");
        fs::write(procs, pid.to_string())?;
    }
    Ok(())
}

/// Every process below the cluster's cgroup.
pub(crate) fn processes(settings: &Settings) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for hierarchy in hierarchies()? {
        for folder in below(&hierarchy.join(settings.name())) {
            let Ok(text) = fs::read_to_string(folder.join("cgroup.procs")) else { continue };
            all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Removes the cgroups. They must be empty.
pub(crate) fn remove(settings: &Settings) -> Result<()> {
    for hierarchy in hierarchies()? {
        for folder in below(&hierarchy.join(settings.name())) {
            // What stays is found by `left_over`.
            drop(fs::remove_dir(folder));
        }
    }
    Ok(())
}

/// The cgroups that are still there.
pub(crate) fn left_over(settings: &Settings) -> Result<Vec<String>> {
    let ours = hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(settings.name()));
    Ok(ours.filter(|folder| folder.exists()).map(|folder| format!("cgroup {}", folder.display())).collect())
}

/// `folder` and everything below it, the deepest first.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(at) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(folders.map(|entry| entry.path()));
        all.push(at);
    }
    all.reverse();
    all
}

/// Mount points of all hierarchies, links (`cpuacct` may be one to `cpu,cpuacct`) left out.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(of_mounts(&mounts))
}

fn of_mounts(mounts: &str) -> Vec<PathBuf> {
    let is_cgroup = |line: &&str| line.split(" - ").nth(1).is_some_and(|end| end.starts_with("cgroup"));
    let points = mounts.lines().filter(is_cgroup).filter_map(|line| line.split_whitespace().nth(4));
    points.filter(|point| point.starts_with(ROOT)).map(PathBuf::from).collect()
}

/// Whether there is version 1 at all.
pub(crate) fn has_version_1() -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().any(|line| line.split(" - ").nth(1).is_some_and(|end| end.starts_with("cgroup "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_side_by_side_are_found() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      33 24 0:29 / /elsewhere rw - cgroup cgroup rw,pids\n";
        let found = of_mounts(mounts);
        assert_eq!(found, [Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn the_deepest_come_first() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        let found = below(&root.path().join("a"));
        assert_eq!(found[0], root.path().join("a/b/c"));
        assert_eq!(found[2], root.path().join("a"));
    }
}
