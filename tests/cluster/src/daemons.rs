//! Programs that stay: started in the network namespace and in the cluster's cgroup, with a log and a pid file.
//!
//! A pid file holds the process's start time too, so a number that was given to somebody else is never killed.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::time::{Instant, sleep};

use crate::{cgroups, command, settings::Settings};

/// How long a component may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// Pause between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
const LOG_TAIL: u64 = 16 * 1024;

/// One component to be started.
pub(crate) struct Daemon {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
}

/// A process and when it began, in clock ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    began: u64,
}

// === impl Daemon ===

impl Daemon {
    pub(crate) fn new(name: &'static str, program: impl Into<PathBuf>) -> Self {
        Self { name, program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it unless it runs.
    pub(crate) fn start(self, settings: &Settings) -> Result<()> {
        if is_running(settings, self.name) {
            return Ok(());
        }
        for folder in ["run", "logs"] {
            fs::create_dir_all(settings.state.join(folder))?;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(log_file(settings, self.name))?;
        let mut command = std::process::Command::new("setsid");
        command
            .args(["--", "nsenter"])
            .arg(format!("--net={}", settings.namespace().display()))
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env)
            .current_dir(&settings.state)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?.into_parts().0)
            .stderr(log.into_parts().0);
        // Both helpers become the program by exec, so the number stays. Not waited for: it outlives us.
        let child = command.spawn().with_context(|| format!("failed to start {}", self.name))?;
        let pid = i32::try_from(child.id()).context("a process number fits")?;
        cgroups::adopt(settings, pid)?;
        let process = Process::of(pid).with_context(|| format!("{} ended at once", self.name))?;
        let record = format!("{} {}\n", process.pid, process.began);
        Ok(fs::write(pid_file(settings, self.name), record)?)
    }
}

/// Whether a component runs.
pub(crate) fn is_running(settings: &Settings, name: &str) -> bool {
    recorded(settings, name).is_some()
}

/// Waits until `ready` is true; fails when the component ends or `limit` passes, with the end of its log.
pub(crate) async fn wait_ready<F: Future<Output = bool>>(
    settings: &Settings,
    name: &str,
    limit: Duration,
    ready: impl Fn() -> F,
) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        if ready().await {
            return Ok(());
        }
        let problem = if !is_running(settings, name) {
            "ended".to_owned()
        } else if Instant::now() > end {
            format!("was not ready within {} s", limit.as_secs())
        } else {
            sleep(LOOK).await;
            continue;
        };
        bail!("{name} {problem}; the end of its log:\n{}", log_tail(settings, name));
    }
}

/// Stops the components whose names are given, all at once, then waits for them.
pub(crate) async fn stop(settings: &Settings, names: &[&str]) -> Result<()> {
    let running: Vec<(&str, Process)> =
        names.iter().filter_map(|name| Some((*name, recorded(settings, name)?))).collect();
    for (_, process) in &running {
        process.signal(Signal::SIGTERM);
    }
    for (name, process) in &running {
        if !process.gone_within(GRACE).await {
            process.signal(Signal::SIGKILL);
            if !process.gone_within(GRACE).await {
                bail!("{name} (process {}) does not end", process.pid);
            }
        }
    }
    for name in names {
        drop(fs::remove_file(pid_file(settings, name)));
    }
    Ok(())
}

/// Sends a signal to a component.
pub(crate) fn signal(settings: &Settings, name: &str, signal: Signal) {
    if let Some(process) = recorded(settings, name) {
        process.signal(signal);
    }
}

/// The end of a component's log.
pub(crate) fn log_tail(settings: &Settings, name: &str) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(log_file(settings, name))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(|error| error.to_string(), |bytes| command::tail(&bytes))
}

fn log_file(settings: &Settings, name: &str) -> PathBuf {
    settings.logs().join(format!("{name}.log"))
}

fn pid_file(settings: &Settings, name: &str) -> PathBuf {
    settings.state.join("run").join(format!("{name}.pid"))
}

/// The process of a pid file, if it is still the same one.
fn recorded(settings: &Settings, name: &str) -> Option<Process> {
    let text = fs::read_to_string(pid_file(settings, name)).ok()?;
    let (pid, began) = text.trim().split_once(' ')?;
    let recorded = Process { pid: pid.parse().ok()?, began: began.parse().ok()? };
    (Process::of(recorded.pid) == Some(recorded)).then_some(recorded)
}

// === impl Process ===

impl Process {
    /// A living process; none when it is gone or only waits to be reaped.
    fn of(pid: i32) -> Option<Self> {
        let (state, began) =
            stat(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)?;
        (state != 'Z').then_some(Self { pid, began })
    }

    fn signal(self, signal: Signal) {
        // Gone is fine.
        let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), signal);
    }

    async fn gone_within(self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Self::of(self.pid) == Some(self) {
            if Instant::now() > end {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }
}

/// State and start time in `/proc/PID/stat`. The name before them may hold anything but ends with the last `)`.
fn stat(text: &str) -> Option<(char, u64)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let mut text = String::from("12 (a) b) S");
        for n in 4..=52 {
            text.push_str(&format!(" {n}"));
        }
        assert_eq!(stat(&text), Some(('S', 22)));
    }

    #[test]
    fn we_are_alive_and_a_reused_number_is_not_us() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let root = tempfile::tempdir().unwrap();
        let settings = Settings::new(0, root.path().join("state"), root.path().join("cache")).unwrap();
        fs::create_dir_all(settings.state.join("run")).unwrap();
        let us = Process::of(pid).unwrap();
        fs::write(pid_file(&settings, "us"), format!("{} {}\n", us.pid, us.began)).unwrap();
        assert!(is_running(&settings, "us"));
        fs::write(pid_file(&settings, "us"), format!("{} {}\n", us.pid, us.began + 1)).unwrap();
        assert!(!is_running(&settings, "us"));
    }
}
