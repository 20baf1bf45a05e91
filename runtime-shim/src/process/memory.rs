//! `Max Memory Used` (LG-07): the peak resident memory of an environment since it was started.
//!
//! Added up over the runtime process, external extensions and their descendants, from `VmHWM` of `/proc/PID/status`. A cgroup would say the same
//! for the whole container, which with several workers is not one environment.

use std::time::Duration;

use tokio::time::Instant;

use super::procfs;

/// The peak so far.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    kib: u64,
    sampled: Option<Instant>,
}

/// The kernel adds up a process's memory for each look; a busy function is not looked at after every invoke.
const PAUSE: Duration = Duration::from_millis(100);

/// More processes than this are not looked at: the figure is for a log line.
const MAX_PROCESSES: usize = 64;

// === impl Peak ===

impl Peak {
    /// Looks at the process trees under `roots`, unless that was done a moment ago.
    pub(crate) fn sample(&mut self, roots: impl Iterator<Item = i32>) {
        if self.sampled.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.sampled = Some(Instant::now());
        let mut seen: Vec<i32> = roots.collect();
        let mut sum = 0;
        let mut at = 0;
        while let Some(&pid) = seen.get(at).filter(|_| at < MAX_PROCESSES) {
            sum += procfs::peak_kib(pid).unwrap_or(0);
            seen.extend(procfs::direct_children(pid));
            at += 1;
        }
        self.kib = self.kib.max(sum);
    }

    /// The peak in whole megabytes, at least one.
    pub(crate) fn megabytes(&self) -> u64 {
        self.kib.div_ceil(1024).max(1)
    }
}
