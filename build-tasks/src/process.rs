//! The language's own tools: one process group each, output streamed, never a shell.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, timeout},
};

use crate::{
    error::{Code, Failure},
    output, signals,
};

/// How long a tool may take to end itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// Longest output of a tool that is asked for a value.
const MAX_ANSWER: usize = 64 * 1024;

/// A tool to be run.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    deadline: Instant,
    quiet: bool,
}

// === impl Tool ===

impl Tool {
    /// `program` from `PATH`, in `cwd`, to be done by `deadline`.
    pub(crate) fn new(program: &str, cwd: &Path, deadline: Instant) -> Self {
        let (program, cwd) = (program.into(), cwd.to_owned());
        Self { program, args: Vec::new(), env: Vec::new(), cwd, deadline, quiet: false }
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Runs it with our own stdout and stderr; its exit code becomes ours.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        output::line(&format!("+ {}", self.shown()));
        let mut child = self.spawn(Stdio::inherit())?;
        let status = self.wait(&mut child).await?;
        if status.success() {
            return Ok(());
        }
        use std::os::unix::process::ExitStatusExt;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        let said = format!("`{}` failed with exit code {code}", self.shown());
        Err(Failure::passed_on(said, u8::try_from(code).unwrap_or(1).max(1)))
    }

    /// Runs it for its answer on stdout. A failure is an answer too: nothing.
    pub(crate) async fn ask(mut self) -> Result<Option<String>, Failure> {
        use tokio::io::AsyncReadExt;
        self.quiet = true;
        let mut child = self.spawn(Stdio::piped())?;
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let mut limited = stdout.take(MAX_ANSWER as u64);
            let read = limited.read_to_end(&mut answer);
            let left = self.deadline.saturating_duration_since(Instant::now());
            let _ = timeout(left, signals::until_asked_to_stop(async { Ok(read.await) })).await;
        }
        let status = self.wait(&mut child).await?;
        Ok(status.success().then(|| String::from_utf8_lossy(&answer).trim().to_owned()))
    }

    fn spawn(&self, stdout: Stdio) -> Result<Child, Failure> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().cloned()).current_dir(&self.cwd);
        command.stdin(Stdio::null()).stdout(stdout).process_group(0).kill_on_drop(true);
        if self.quiet {
            command.stderr(Stdio::null());
        }
        command.spawn().map_err(|error| self.cannot_start(error))
    }

    /// Waits for the end, the deadline or a signal. Whatever the tool started goes with it.
    async fn wait(&self, child: &mut Child) -> Result<std::process::ExitStatus, Failure> {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let ended = tokio::select! {
            status = child.wait() => Ok(status),
            () = tokio::time::sleep_until(self.deadline) => {
                Err(Failure::because(format!("`{}` took too long", self.shown())).code(Code::Timeout))
            }
            asked = signals::asked_to_stop() => Err(asked.err().unwrap_or_else(signals::stopped)),
        };
        if ended.is_err() {
            send(group, Signal::SIGTERM);
            let _ = timeout(GRACE, child.wait()).await;
        }
        send(group, Signal::SIGKILL);
        let status = ended?;
        status.map_err(|error| Failure::new(format!("failed to wait for `{}`", self.shown()), error))
    }

    fn cannot_start(&self, error: io::Error) -> Failure {
        let program = self.program.to_string_lossy().into_owned();
        if error.kind() == io::ErrorKind::NotFound {
            return Failure::because(format!("`{program}` is not on PATH")).hint(format!(
                "install {program}, or give a BUILD_IMAGE that has it; on this machine `tm doctor` lists what is there"
            ));
        }
        Failure::new(format!("failed to start `{program}`"), error)
    }

    /// The command for people to read. Secrets are never among arguments.
    fn shown(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// Signals a group. It may be gone already.
fn send(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _ = killpg(group, signal);
    }
}
