//! The one place that waits for processes.
//!
//! The shim is PID 1 in a container, so it inherits every orphan; outside one it asks the kernel for the same
//! (`PR_SET_CHILD_SUBREAPER`). All waiting is done here, on SIGCHLD, and an exit is handed to whoever started the
//! process. A group dies with its leader: the kill is sent while the leader is still a zombie, so its number cannot
//! belong to anybody else yet.
//!
//! Who gets which signal: SIGTERM and SIGINT reach the shim alone, as each runtime has a process group of its own; the
//! shim sends TERM and then KILL to the groups when it is done with them.

use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tm_lambda::RuntimeExit;
use tokio::sync::oneshot;

use super::procfs;

/// Every process that was started here and has not been waited for.
#[derive(Debug, Default)]
pub(crate) struct Children {
    running: Mutex<Running>,
}

/// Who wants to know of which process's end.
type Running = HashMap<i32, oneshot::Sender<RuntimeExit>>;

/// One process that leads a group. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    exit: oneshot::Receiver<RuntimeExit>,
    children: Arc<Children>,
}

/// Rounds of [`Children::end_strays`]: so deep may a tree of escaped processes be.
const STRAY_ROUNDS: usize = 50;

/// Time for a killed process to end and its children to be adopted.
const STRAY_PAUSE: Duration = Duration::from_millis(2);

// === impl Children ===

impl Children {
    /// The registry of this process; there must be one only.
    pub(crate) fn new() -> Arc<Self> {
        procfs::adopt_orphans();
        Arc::new(Self::default())
    }

    /// Starts a process. The lock is held over start and entry, so its exit cannot be missed.
    pub(crate) fn spawn(self: &Arc<Self>, command: &mut Command) -> io::Result<(std::process::Child, Child)> {
        let mut running = self.lock();
        let process = command.spawn()?;
        let pid = i32::try_from(process.id()).map_err(io::Error::other)?;
        let (exit_tx, exit) = oneshot::channel();
        running.insert(pid, exit_tx);
        Ok((process, Child { pid, exit, children: Arc::clone(self) }))
    }

    /// Waits for everything that has ended. Called on SIGCHLD.
    pub(crate) fn reap(&self) {
        let mut running = self.lock();
        while let Some((pid, exit)) = wait_for_one(&running) {
            if let Some(owner) = running.remove(&pid) {
                let _ = owner.send(exit);
            }
        }
    }

    /// Ends adopted processes for which `doomed` says so: those that left their group and lost their parent. What they
    /// leave behind is adopted in turn, so it takes a few rounds.
    pub(crate) async fn end_strays(&self, doomed: impl Fn(i32) -> bool) {
        for _ in 0..STRAY_ROUNDS {
            if self.kill_strays(&doomed) == 0 {
                return;
            }
            tokio::time::sleep(STRAY_PAUSE).await;
        }
    }

    fn kill_strays(&self, doomed: impl Fn(i32) -> bool) -> usize {
        let running = self.lock();
        let strays = procfs::living_children_of(std::process::id()).into_iter();
        let strays: Vec<i32> = strays.filter(|pid| !running.contains_key(pid) && doomed(*pid)).collect();
        // Still our children and only waited for under this lock, so the numbers are still theirs.
        strays.iter().filter(|pid| kill(Pid::from_raw(**pid), Signal::SIGKILL).is_ok()).count()
    }

    fn signal_group(&self, pid: i32, signal: Signal) {
        if self.lock().contains_key(&pid) {
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for one process that has ended, whoever's it was, and ends what is left of its group.
#[cfg(target_os = "linux")]
fn wait_for_one(running: &Running) -> Option<(i32, RuntimeExit)> {
    use nix::sys::wait::{Id, waitid};
    loop {
        // Looked at first, so that the group can be ended while its number is still taken.
        let pid = match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
            Ok(status) => status.pid()?,
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        };
        if running.contains_key(&pid.as_raw()) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        if let Some(exit) = collect(pid) {
            return Some((pid.as_raw(), exit));
        }
    }
}

/// Waits for one of our own processes. Elsewhere than on Linux nobody's orphans come to us.
#[cfg(not(target_os = "linux"))]
fn wait_for_one(running: &Running) -> Option<(i32, RuntimeExit)> {
    running.keys().find_map(|pid| {
        let exit = collect(Pid::from_raw(*pid))?;
        let _ = killpg(Pid::from_raw(*pid), Signal::SIGKILL);
        Some((*pid, exit))
    })
}

/// How a process ended, if it did.
fn collect(pid: Pid) -> Option<RuntimeExit> {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(RuntimeExit::Code(code)),
        Ok(WaitStatus::Signaled(_, signal, core_dumped)) => {
            Some(RuntimeExit::Signal { number: signal as i32, core_dumped })
        }
        _ => None,
    }
}

// === impl Child ===

impl Child {
    /// The process's number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the end.
    ///
    /// # Cancel safety
    ///
    /// May be called again after it was dropped, but not after it has returned.
    pub(crate) async fn exited(&mut self) -> RuntimeExit {
        (&mut self.exit).await.unwrap_or(RuntimeExit::Code(-1))
    }

    /// Asks the group to end.
    pub(crate) fn terminate(&self) {
        self.children.signal_group(self.pid, Signal::SIGTERM);
    }

    /// Ends the group.
    pub(crate) fn kill(&self) {
        self.children.signal_group(self.pid, Signal::SIGKILL);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
