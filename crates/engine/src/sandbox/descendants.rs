//! Without a PID namespace the outer process is the parent of last resort of everything the command starts, also of what
//! left its process group or session, and ends all of it when the command ends or the engine dies.

use std::path::Path;

use fs_err as fs;
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};

use super::{SandboxError, system};

/// Tells the outer process to end everything at once; it also gets this when the engine dies.
pub(crate) const END_ALL: Signal = Signal::SIGUSR2;

/// Variable that marks the processes of a pod; its value is the pod's folder.
pub(crate) const MARK: &str = "TM_POD_DIR";

/// Becomes the parent of orphans below this process, and hears of the engine's death.
pub(super) fn adopt() -> Result<(), SandboxError> {
    system("adopt orphans", prctl::set_child_subreaper(true))?;
    system("ask for a signal at the parent's death", prctl::set_pdeathsig(END_ALL))
}

/// Kills every process below this one and waits for it.
pub(super) fn end_all() {
    loop {
        for pid in below(Pid::this()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Children, their children and so on.
fn below(root: Pid) -> Vec<Pid> {
    let all: Vec<(Pid, Pid)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(at) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, parent)| *parent == at).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// Parent of a process (proc(5): the second field after the name, which is in parentheses and may hold anything).
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Kills what is left of pods below `pods` after an engine and its helpers were killed: by the mark in their
/// environment, which no other process has, whatever its PID was before. Says how many there were.
pub(crate) fn sweep(pods: &Path) -> usize {
    let wanted = format!("{MARK}={}/", pods.display());
    let marked = |pid: &Pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|pair| pair.starts_with(wanted.as_bytes()))
    };
    processes().filter(marked).filter(|pid| kill(*pid, Signal::SIGKILL).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_is_marked_is_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new("sleep")
            .arg("60")
            .env(MARK, folder.path().join("uid"))
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a PID"));
        assert!(below(Pid::this()).contains(&pid));
        assert_eq!(sweep(&folder.path().join("elsewhere")), 0);
        assert_eq!(sweep(folder.path()), 1);
        assert!(!child.wait().expect("it ended").success());
    }
}
