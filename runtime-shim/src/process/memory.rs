//! `Max Memory Used` (LG-07): the peak memory of an environment.
//!
//! Where the shim's control group is that of a container with this environment alone in it, the kernel's own figure
//! (`memory.peak`), with all that is charged to the container since it was started: files in memory and the shim, too. Else
//! `VmHWM` of `/proc/PID/status`, added up over the runtime process, external extensions and their descendants.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::procfs;

/// The peak so far.
#[derive(Debug)]
pub(crate) struct Peak {
    kib: u64,
    sampled: Option<Instant>,
    /// The container's own figure.
    container: Option<PathBuf>,
}

/// The kernel adds up a process's memory for each look; a busy function is not looked at after every invoke.
const PAUSE: Duration = Duration::from_millis(100);

/// More processes than this are not looked at: the figure is for a log line.
const MAX_PROCESSES: usize = 64;

// === impl Peak ===

impl Peak {
    /// Nothing yet. `alone` where no other environment is in this container.
    pub(crate) fn new(alone: bool) -> Self {
        let container = (alone && std::process::id() == 1).then(|| {
            let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            container_of(&own, Path::new("/sys/fs/cgroup"))
        });
        Self { kib: 0, sampled: None, container: container.flatten() }
    }

    /// Looks at the container, or the process trees under `roots`, unless that was done a moment ago.
    pub(crate) fn sample(&mut self, roots: impl Iterator<Item = i32>) {
        if self.sampled.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.sampled = Some(Instant::now());
        let container = self.container.as_deref().and_then(kib_of);
        self.kib = self.kib.max(container.unwrap_or_else(|| sum(roots.collect())));
    }

    /// The peak in whole megabytes, at least one.
    pub(crate) fn megabytes(&self) -> u64 {
        self.kib.div_ceil(1024).max(1)
    }
}

/// The figure of the container that process 1 is the first of: its group is the root of what it sees, and nobody of another
/// process namespace is in it, who would be shown as 0.
fn container_of(own: &str, folder: &Path) -> Option<PathBuf> {
    let members = fs::read_to_string(folder.join("cgroup.procs")).ok()?;
    let alone = own == "0::/\n" && members.lines().all(|pid| pid != "0");
    let figure = folder.join("memory.peak");
    (alone && kib_of(&figure).is_some()).then_some(figure)
}

fn kib_of(figure: &Path) -> Option<u64> {
    let bytes: u64 = fs::read_to_string(figure).ok()?.trim_ascii().parse().ok()?;
    Some(bytes.div_ceil(1024))
}

fn sum(roots: Vec<i32>) -> u64 {
    let (mut seen, mut sum, mut at) = (roots, 0, 0);
    while let Some(&pid) = seen.get(at).filter(|_| at < MAX_PROCESSES) {
        sum += procfs::peak_kib(pid).unwrap_or(0);
        seen.extend(procfs::direct_children(pid));
        at += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lg_07_the_containers_figure_is_taken_in_its_own_group_only() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let of = |own: &str| container_of(own, folder.path());
        assert_eq!(of("0::/\n"), None, "the root has no such files");
        write("cgroup.procs", "1\n7\n");
        assert_eq!(of("0::/\n"), None, "an old kernel has no figure");
        write("memory.peak", "104857601\n");
        assert_eq!(of("0::/\n").as_deref().and_then(kib_of), Some(102_401));
        assert_eq!(of("0::/user.slice\n"), None);
        assert_eq!(of("4:memory:/\n0::/\n"), None, "groups of the first kind");
        write("cgroup.procs", "0\n1\n7\n");
        assert_eq!(of("0::/\n"), None, "somebody outside of the container is in it");
    }
}
