//! Namespaces, rights and signals of the helper.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command},
};

use fs_err as fs;
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Gid, Pid, Uid, getgid, getuid, setgid, setgroups, setuid},
};

use super::{END_ALL, Identity, Isolation, SandboxError, Spec, io, system};

/// Kills this process when the one that started it dies. Cleared by a change of user: see [`drop_rights`].
pub(super) fn die_with_parent() -> Result<(), SandboxError> {
    system("ask for a signal at the parent's death", prctl::set_pdeathsig(Signal::SIGKILL))
}

/// New mount and PID namespaces; without root, inside a new user namespace. There this user is root: a program of
/// another user would lose the rights over the namespaces as soon as it is executed.
pub(super) fn unshare_all(spec: &Spec) -> Result<(), SandboxError> {
    if let Some(owner) = spec.owner {
        user_namespace(Identity { uid: 0, gid: 0 }, owner)?;
    }
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    system("make mount and PID namespaces", unshare(flags))
}

/// Becomes the engine's user again, in a user namespace inside the first, as bubblewrap does. Nothing can be mounted from
/// here on.
pub(super) fn become_owner(spec: &Spec) -> Result<(), SandboxError> {
    spec.owner.map_or(Ok(()), |owner| user_namespace(owner, Identity { uid: 0, gid: 0 }))
}

/// A new user namespace in which `outside` is called `inside`, and nobody else exists.
fn user_namespace(inside: Identity, outside: Identity) -> Result<(), SandboxError> {
    system("make a user namespace", unshare(CloneFlags::CLONE_NEWUSER))?;
    io("give up setgroups", fs::write("/proc/self/setgroups", "deny"))?;
    io("map the user", fs::write("/proc/self/uid_map", format!("{} {} 1", inside.uid, outside.uid)))?;
    io("map the group", fs::write("/proc/self/gid_map", format!("{} {} 1", inside.gid, outside.gid)))
}

/// This user, unless it is root.
pub(crate) fn owner() -> Option<Identity> {
    let (uid, gid) = (getuid(), getgid());
    (!uid.is_root()).then_some(Identity { uid: uid.as_raw(), gid: gid.as_raw() })
}

/// Starts this program again as PID 1 of the new PID namespace and stays between it and the engine: forwards SIGTERM
/// and SIGINT, returns its exit code.
pub(super) fn run_inner(mode: &str, file: &Path) -> Result<u8, SandboxError> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, END_ALL] {
        signals.add(signal);
    }
    system("block signals", signals.thread_block())?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("tm").args(["sandbox".as_ref(), mode.as_ref(), file.as_os_str()]);
    let child = io("start PID 1", command.spawn())?;
    supervise(&child, &signals)
}

fn supervise(child: &Child, signals: &SigSet) -> Result<u8, SandboxError> {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a PID fits an i32"));
    loop {
        match system("wait for a signal", signals.wait())? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(pid)? {
                    return Ok(code);
                }
            }
            END_ALL => return Ok(128 + Signal::SIGKILL as u8),
            signal => {
                let _ = kill(pid, signal);
            }
        }
    }
}

/// Exit code of the child if it ended; orphans that were adopted are reaped on the way.
fn reap(child: Pid) -> Result<Option<u8>, SandboxError> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(Some(128_u8.saturating_add(signal as u8)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(source) => return Err(SandboxError::System { what: "wait for PID 1".into(), source }),
        }
    }
}

/// Lets all signals through: a program inherits the mask of the one that executes it, and the outer blocks some.
pub(super) fn unblock_signals() -> Result<(), SandboxError> {
    system("unblock signals", SigSet::empty().thread_set_mask())
}

/// Becomes the container's user, for good.
pub(super) fn drop_rights(spec: &Spec) -> Result<(), SandboxError> {
    if let Some(Identity { uid, gid }) = spec.identity
        && getuid().is_root()
    {
        system("drop groups", setgroups(&[]))?;
        system("change the group", setgid(Gid::from_raw(gid)))?;
        system("change the user", setuid(Uid::from_raw(uid)))?;
    }
    system("forbid new rights", prctl::set_no_new_privs())?;
    die_with_parent()
}

/// Exit code 0 when this kernel lets us make a sandbox.
pub(super) fn probe() -> Result<u8, SandboxError> {
    let folder = io("make a folder", tempfile::tempdir())?;
    let root = folder.path().join("root");
    io("make a folder", fs::create_dir(&root))?;
    let spec = Spec {
        isolation: Isolation::Namespaces,
        root,
        image: None,
        host: true,
        mounts: Vec::new(),
        masked: Vec::new(),
        command: vec!["/bin/true".into()],
        env: Vec::new(),
        cwd: "/".into(),
        identity: None,
        owner: owner(),
        exec_failure: None,
    };
    let file = folder.path().join("spec.json");
    io("write the spec", spec.write(&file))?;
    unshare_all(&spec)?;
    run_inner("--inner", &file)
}
