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
use tokio_util::task::TaskTracker;

use super::{
    Container, ContainerSpec, Exit, ImageRequest, Runner, StartError, drained,
    image::{Image, ImageError, ImageStore},
    log::Source,
};
use crate::{
    engine::IsolationKind,
    node::{ExecSession, NodeError},
    sandbox::{END_ALL, Identity, Isolation, MARK, Spec, owner},
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
    /// Why it is that isolation.
    because: &'static str,
    /// One task for each container, which reaps it.
    tasks: TaskTracker,
}

/// This machine does not allow what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// Namespaces were asked for.
    #[error(
        "this machine does not allow the mount and PID namespaces that `--isolation namespaces` asks for"
    )]
    Forbidden,
    /// Without namespaces the container's user walks through the machine's own folders.
    #[error(
        "without namespaces the user of containers must reach `{0}`, and one of the folders above forbids it; move the state with TM_STATE_DIR"
    )]
    Unreachable(PathBuf),
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
    /// A runner as it was asked for, or as this machine allows. `exe` is this multi-call binary (`/proc/self/exe`),
    /// `masked` are folders no container may see, `pods` is where the folders of pods are.
    ///
    /// # Errors
    /// [`IsolationError`] when this machine cannot do it.
    pub async fn choose(
        wanted: IsolationKind,
        exe: PathBuf,
        masked: Vec<PathBuf>,
        pods: &Path,
    ) -> Result<Self, IsolationError> {
        let namespaces = wanted != IsolationKind::None && probe(&exe).await;
        if namespaces {
            return Ok(Self {
                exe,
                isolation: Isolation::Namespaces,
                masked,
                because: "",
                tasks: TaskTracker::new(),
            });
        }
        if wanted == IsolationKind::Namespaces {
            return Err(IsolationError::Forbidden);
        }
        if container_identity().is_some() && !everybody_enters(pods) {
            return Err(IsolationError::Unreachable(pods.into()));
        }
        let forced = wanted == IsolationKind::None;
        let because = if forced { "as asked for" } else { "the kernel forbids them" };
        Ok(Self { exe, isolation: Isolation::Plain, masked, because, tasks: TaskTracker::new() })
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
            owner: owner(),
            exec_failure: spec.exec_failure,
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
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.kill_on_drop(self.isolation == Isolation::Namespaces);
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

/// Whether a user without rights gets into a folder.
fn everybody_enters(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let open = |folder: &Path| fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & 0o001 != 0);
    folder.ancestors().all(open)
}

/// Who containers are, when the engine may choose.
pub(super) fn container_identity() -> Option<Identity> {
    getuid().is_root().then_some(Identity { uid: CONTAINER_USER, gid: CONTAINER_USER })
}

impl Runner for ProcessRunner {
    fn isolation(&self) -> String {
        let text = match self.isolation {
            Isolation::Namespaces => "process (mount and PID namespaces)",
            Isolation::Plain if self.because == "as asked for" => "process (no namespaces: as asked for)",
            Isolation::Plain => "process (no namespaces: the kernel forbids them)",
        };
        text.into()
    }

    fn isolation_kind(&self) -> &'static str {
        match self.isolation {
            Isolation::Namespaces => "namespaces",
            Isolation::Plain => "plain",
        }
    }

    fn image<'a>(
        &'a self,
        images: &'a ImageStore,
        request: ImageRequest<'a>,
    ) -> BoxFuture<'a, Result<Image, ImageError>> {
        images.get(request.reference, request.namespace, request.secrets).boxed()
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
            self.tasks.spawn(async move {
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

    /// Processes die with their engine; what is left are the tasks that reap them.
    fn tidy(&self) -> BoxFuture<'_, ()> {
        drained(&self.tasks).boxed()
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
            if self.runner.isolation == Isolation::Plain {
                // The helper knows what left the group.
                let _ = kill(self.pid, END_ALL);
                if let Ok(exit) = timeout(OUTPUT_GRACE, self.wait()).await {
                    return exit;
                }
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
            let mut ending = EndOnDrop(pid_of(&child).filter(|_| self.runner.isolation == Isolation::Plain));
            let exit = async move {
                let status = child.wait().await?;
                ending.disarm();
                Ok(shell_code(status))
            };
            let exit = exit.boxed();
            Ok(ExecSession { stdin, stdout: Box::pin(stdout), stderr: Some(Box::pin(stderr)), exit })
        }
        .boxed()
    }
}

/// Has the helper of a command end what the command started, when nobody waits for it any more.
struct EndOnDrop(Option<Pid>);

impl EndOnDrop {
    /// The helper has ended: its PID may be another's soon.
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill(pid, END_ALL);
        }
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
    pod_dir: PathBuf,
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
        Self { pairs, image: spec.image.rootfs.clone(), pod_dir: spec.pod_dir.clone() }
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
        let lambda = [
            ("LAMBDA_TASK_ROOT", "/var/task", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime", "/var/runtime"),
            ("TM_EXTENSIONS_DIR", "/opt", "/opt/extensions"),
        ];
        for (name, folder, path) in lambda {
            let known = self.pairs.iter().any(|(from, _)| from == folder);
            if known && !spec.env.iter().any(|(key, _)| key == name) {
                spec.env.push((name.into(), self.word(path)));
            }
        }
        if !spec.env.iter().any(|(key, _)| key == "TMPDIR") {
            spec.env.push(("TMPDIR".into(), self.word("/tmp")));
        }
        spec.env.push((MARK.into(), self.pod_dir.display().to_string()));
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
        let translation = Translation { pairs, image: None, pod_dir: PathBuf::new() };
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
