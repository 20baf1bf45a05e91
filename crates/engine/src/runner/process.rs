//! Containers as plain processes of this machine: `tm sandbox` around each command.
//!
//! With namespaces the helper's process is the container: killing it ends everything inside. Without them the container
//! is a process group, and the paths AWS and Tekton use are translated to the pod's folders (see `Translation`).

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fs_err as fs;
use futures::{
    FutureExt,
    future::{BoxFuture, FusedFuture},
};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getuid},
};
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use super::{Container, ContainerSpec, Exit, Runner, StartError, log::Source};
use crate::{
    node::{ExecSession, NodeError},
    sandbox::{Identity, Isolation, Spec},
};

/// The user of containers when the engine is root (the "nonroot" user of distroless images).
pub const CONTAINER_USER: u32 = 65532;

/// How long the output of an ended container is waited for: a process that left its group may hold the pipe.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// Runs containers as processes.
#[derive(Clone, Debug)]
pub struct ProcessRunner {
    exe: PathBuf,
    isolation: Isolation,
    masked: Vec<PathBuf>,
}

struct ProcessContainer {
    runner: ProcessRunner,
    spec: ContainerSpec,
    pid: Pid,
    exit: watch::Receiver<Option<Exit>>,
    execs: AtomicU64,
}

// === impl ProcessRunner ===

impl ProcessRunner {
    /// A runner that finds out what this machine allows. `exe` is this multi-call binary (`/proc/self/exe`), `masked`
    /// are folders no container may see.
    pub async fn detect(exe: PathBuf, masked: Vec<PathBuf>) -> Self {
        let isolation = if probe(&exe).await { Isolation::Namespaces } else { Isolation::Plain };
        Self { exe, isolation, masked }
    }

    /// A runner without namespaces, for machines that forbid them.
    pub fn plain(exe: PathBuf) -> Self {
        Self { exe, isolation: Isolation::Plain, masked: Vec::new() }
    }

    fn sandbox_spec(&self, spec: &ContainerSpec, command: Vec<String>) -> Spec {
        let sandbox = Spec {
            isolation: self.isolation,
            root: spec.pod_dir.join("root"),
            image: spec.image.rootfs.clone(),
            host: !spec.image.complete,
            mounts: spec.mounts.clone(),
            masked: self.masked.clone(),
            command,
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            identity: container_identity(),
        };
        match self.isolation {
            Isolation::Namespaces => sandbox,
            Isolation::Plain => Translation::of(spec).apply(sandbox),
        }
    }

    /// Starts the helper. The spec's file goes as soon as the helper has read it.
    fn spawn(
        &self,
        spec: &ContainerSpec,
        tag: &str,
        command: Vec<String>,
        stdin: bool,
    ) -> std::io::Result<Child> {
        let file = spec.pod_dir.join(format!("{}-{tag}.json", spec.id.container));
        self.sandbox_spec(spec, command).write(&file)?;
        let mut command = Command::new(&self.exe);
        command.arg0("tm").arg("sandbox").arg(&file).env_clear();
        command.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command.spawn()
    }
}

async fn probe(exe: &Path) -> bool {
    let mut command = Command::new(exe);
    command
        .arg0("tm")
        .args(["sandbox", "--probe"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let run = async { command.kill_on_drop(true).status().await.is_ok_and(|status| status.success()) };
    timeout(Duration::from_secs(5), run).await.unwrap_or(false)
}

/// Who containers are, when the engine may choose.
pub(super) fn container_identity() -> Option<Identity> {
    getuid().is_root().then_some(Identity { uid: CONTAINER_USER, gid: CONTAINER_USER })
}

impl Runner for ProcessRunner {
    fn isolation(&self) -> &'static str {
        match self.isolation {
            Isolation::Namespaces => "process (mount and PID namespaces)",
            Isolation::Plain => "process (no namespaces: the kernel forbids them)",
        }
    }

    fn start(&self, spec: ContainerSpec) -> BoxFuture<'_, Result<Arc<dyn Container>, StartError>> {
        async move {
            let io = |what| move |source| StartError::Io { what, source };
            if spec.command.is_empty() {
                return Err(StartError::NoCommand);
            }
            fs::create_dir_all(spec.pod_dir.join("root")).map_err(io("make the container's root"))?;
            let mut child =
                self.spawn(&spec, "main", spec.command.clone(), false).map_err(io("start the sandbox"))?;
            let pid = pid_of(&child).ok_or_else(|| StartError::Io {
                what: "start the sandbox",
                source: std::io::Error::other("the process has no PID"),
            })?;
            let (exit_tx, exit) = watch::channel(None);
            let log = Arc::clone(&spec.log);
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            // Owner of the child: ends when the container ends, which every stop path brings about.
            tokio::spawn(async move {
                let out = async {
                    if let Some(stdout) = stdout {
                        log.copy(Source::Stdout, stdout).await;
                    }
                };
                let err = async {
                    if let Some(stderr) = stderr {
                        log.copy(Source::Stderr, stderr).await;
                    }
                };
                let mut output = std::pin::pin!(async { tokio::join!(out, err) }.fuse());
                let status = tokio::select! {
                    status = child.wait() => status,
                    _ = &mut output => child.wait().await,
                };
                let _ = killpg(pid, Signal::SIGKILL);
                if !output.is_terminated() {
                    let _ = timeout(OUTPUT_GRACE, output).await;
                }
                let code = status.map_or(255, shell_code);
                exit_tx.send_replace(Some(Exit { code }));
            });
            let container =
                ProcessContainer { runner: self.clone(), spec, pid, exit, execs: AtomicU64::new(0) };
            Ok(Arc::new(container) as Arc<dyn Container>)
        }
        .boxed()
    }
}

// === impl ProcessContainer ===

impl Container for ProcessContainer {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        let mut exit = self.exit.clone();
        async move {
            match exit.wait_for(Option::is_some).await {
                Ok(exit) => exit.expect("it was waited for"),
                Err(_) => Exit { code: 255 },
            }
        }
        .boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        async move {
            if self.exit.borrow().is_none() {
                let _ = kill(self.pid, Signal::SIGTERM);
            }
            if let Ok(exit) = timeout(grace, self.wait()).await {
                return exit;
            }
            let _ = killpg(self.pid, Signal::SIGKILL);
            self.wait().await
        }
        .boxed()
    }

    fn exec(
        &self,
        command: Vec<String>,
        stdin: bool,
        _tty: bool,
    ) -> BoxFuture<'_, Result<ExecSession, NodeError>> {
        async move {
            if self.exit.borrow().is_some() {
                return Err(NodeError::NotRunning(self.spec.id.container.clone()));
            }
            let name = command.first().cloned().unwrap_or_default();
            let tag = format!("exec{}", self.execs.fetch_add(1, Ordering::Relaxed));
            let mut child = self
                .runner
                .spawn(&self.spec, &tag, command, stdin)
                .map_err(|source| NodeError::CannotStart { command: name, source })?;
            let missing = || NodeError::Io(std::io::Error::other("the command has no output"));
            let stdout = child.stdout.take().ok_or_else(missing)?;
            let stderr = child.stderr.take().ok_or_else(missing)?;
            let stdin = child.stdin.take().map(|stdin| Box::pin(stdin) as _);
            let exit = async move { Ok(shell_code(child.wait().await?)) }.boxed();
            Ok(ExecSession { stdin, stdout: Box::pin(stdout), stderr: Some(Box::pin(stderr)), exit })
        }
        .boxed()
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// Exit code as a shell shows it: 128 + n for signal n.
fn shell_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// Paths of the container and where they are on the machine, for containers without a view of their own.
///
/// Whole paths are replaced in arguments and environment values, at the beginning of a word or after `=`, `:` and `,`:
/// `/var/task`, `/workspace/source/src`, `PYTHONPATH=/var/task:/opt`.
struct Translation {
    pairs: Vec<(String, String)>,
    image: Option<PathBuf>,
}

impl Translation {
    fn of(spec: &ContainerSpec) -> Self {
        let mut pairs: Vec<(String, String)> = spec
            .mounts
            .iter()
            .map(|mount| (mount.target.display().to_string(), mount.source.display().to_string()))
            .collect();
        if let Some(image) = &spec.image.rootfs {
            for folder in ["/var/task", "/var/runtime", "/opt"] {
                let inside = image.join(folder.trim_start_matches('/'));
                if inside.is_dir() {
                    pairs.push((folder.into(), inside.display().to_string()));
                }
            }
        }
        // The longest path first: `/workspace/source` before `/workspace`.
        pairs.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self { pairs, image: spec.image.rootfs.clone() }
    }

    fn apply(&self, mut spec: Spec) -> Spec {
        for word in &mut spec.command {
            *word = self.word(word);
        }
        if let (Some(program), Some(image)) = (spec.command.first_mut(), &self.image) {
            let inside = image.join(program.trim_start_matches('/'));
            if program.starts_with('/') && inside.is_file() {
                *program = inside.display().to_string();
            }
        }
        for (_, value) in &mut spec.env {
            *value = self.word(value);
        }
        let lambda = [("LAMBDA_TASK_ROOT", "/var/task"), ("LAMBDA_RUNTIME_DIR", "/var/runtime")];
        for (name, path) in lambda {
            if self.pairs.iter().any(|(from, _)| from == path) && !spec.env.iter().any(|(key, _)| key == name)
            {
                spec.env.push((name.into(), self.word(path)));
            }
        }
        spec.cwd = PathBuf::from(self.word(&spec.cwd.display().to_string()));
        if !spec.cwd.is_dir() {
            spec.cwd = PathBuf::from("/");
        }
        spec
    }

    fn word(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut at_start = true;
        while !rest.is_empty() {
            if at_start
                && let Some((from, to)) = self.pairs.iter().find(|(from, _)| begins_with_path(rest, from))
            {
                out.push_str(to);
                rest = &rest[from.len()..];
            } else if let Some(first) = rest.chars().next() {
                at_start = matches!(first, '=' | ':' | ',');
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            at_start = false;
        }
        out
    }
}

/// Whether `text` begins with `path` as a whole path (`/opt` is no beginning of `/option`).
fn begins_with_path(text: &str, path: &str) -> bool {
    text.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', ',']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_translated_as_wholes() {
        let pairs = vec![
            ("/workspace/source".to_owned(), "/s/ws".to_owned()),
            ("/opt".to_owned(), "/s/opt".to_owned()),
        ];
        let translation = Translation { pairs, image: None };
        for (from, to) in [
            ("/workspace/source/src", "/s/ws/src"),
            ("--dir=/workspace/source", "--dir=/s/ws"),
            ("/usr/lib:/opt/lib:/option", "/usr/lib:/s/opt/lib:/option"),
            ("name=/workspace/sources", "name=/workspace/sources"),
            ("a/opt", "a/opt"),
            ("", ""),
        ] {
            assert_eq!(translation.word(from), to, "{from}");
        }
    }
}
