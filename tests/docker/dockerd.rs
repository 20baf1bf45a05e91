//! A Docker engine for one test: its own socket, images and containerd, ended with the test.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::{Pid, getuid},
};
use tm_testkit::{machine::wait_for, tools};
use tokio::time::timeout;

/// Longest wait for it to answer.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Longest time of a `docker` command.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// Looks at its end, and the pause between two.
const STOP_LOOKS: u32 = 300;
const STOP_LOOK: Duration = Duration::from_millis(100);

/// The engine.
pub(crate) struct Dockerd {
    root: tempfile::TempDir,
    host: String,
    child: Child,
}

// === impl Dockerd ===

impl Dockerd {
    /// Starts one; `None` when this machine cannot, which is said aloud.
    pub(crate) async fn start() -> Option<Self> {
        for program in ["dockerd", "docker", "mmdebstrap"] {
            tools::find(program)?;
        }
        if !getuid().is_root() {
            tools::skip("not root, so no dockerd");
            return None;
        }
        let dockerd = Self::spawn().expect("dockerd starts");
        let answers = async || dockerd.docker(&["version"]).await;
        if let Err(error) = wait_for("dockerd to answer", START_LIMIT, answers).await {
            panic!("{error:#}\n{}", dockerd.log_tail());
        }
        Some(dockerd)
    }

    fn spawn() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("tm-dockerd-").tempdir()?;
        let path = |name: &str| root.path().join(name).display().to_string();
        let host = format!("unix://{}", path("docker.sock"));
        // This machine's own settings are not for this one.
        fs_err::write(root.path().join("daemon.json"), "{}")?;
        let log = fs_err::File::create(root.path().join("log"))?.into_parts().0;
        let child = Command::new("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &host, "--config-file", &path("daemon.json"), "--bridge", "none"])
            .args(["--iptables=false", "--ip6tables=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self { root, host, child })
    }

    /// Value of `DOCKER_HOST`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Runs a `docker` command; its output.
    pub(crate) async fn docker(&self, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new("docker");
        command.args(["--config", &self.path("config"), "--host", &self.host]).args(args);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(COMMAND_LIMIT, command.output()).await.context("docker ends in time")??;
        ensure!(
            output.status.success(),
            "docker {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ids of all containers, ended ones too.
    pub(crate) async fn containers(&self) -> Result<Vec<String>> {
        let ids = self.docker(&["ps", "--all", "--quiet", "--no-trunc"]).await?;
        Ok(ids.lines().map(str::to_owned).collect())
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs_err::read_to_string(PathBuf::from(self.path("log"))).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    /// Waits for its end; whether it came in time.
    fn ended(&mut self) -> bool {
        for _ in 0..STOP_LOOKS {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(STOP_LOOK);
        }
        false
    }

    /// The network namespace of `--network host` stays mounted when it ends.
    fn unmount(&self) {
        let root = self.path("");
        let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap_or_default();
        for place in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if place.starts_with(&root) {
                let _ = umount2(place, MntFlags::MNT_DETACH);
            }
        }
    }
}

impl Drop for Dockerd {
    /// It ends its containers and its containerd itself.
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        if !self.ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.unmount();
    }
}
