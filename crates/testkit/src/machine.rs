//! A machine of one's own: a fresh home, state and run-time folder, free ports, and `tm` as a user runs it.
//!
//! Dropping it stops the engine and removes the folders. With [`Machine::on_cluster`] it is a user of the cluster that
//! `TM_TEST_CONTEXT` names instead, with a namespace of their own.

pub mod cluster;

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use self::cluster::Cluster;
use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Longest time of one command: a first build downloads and compiles.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
/// Longest time of one call of a function.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Pause after the first look at a condition, doubled each time up to the longest: a look may be a program that is started.
const LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// The machine.
pub struct Machine {
    tm: PathBuf,
    root: tempfile::TempDir,
    extra: Vec<(String, String)>,
    cluster: Option<Cluster>,
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

/// An answer of a function.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

// === impl Machine ===

impl Machine {
    /// A machine with `tm`, the path cargo gives to tests (`CARGO_BIN_EXE_tm`).
    ///
    /// # Panics
    /// When its folders cannot be made.
    #[must_use]
    pub fn new(tm: impl Into<PathBuf>) -> Self {
        let root = tempfile::Builder::new().prefix("tm-").tempdir().expect("a temporary folder can be made");
        for folder in ["home", "run"] {
            fs::create_dir(root.path().join(folder)).expect("a folder can be made");
        }
        Self { tm: tm.into(), root, extra: Vec::new(), cluster: None }
    }

    /// The same as a user of the test cluster.
    ///
    /// # Errors
    /// When there is none or it does not answer.
    pub async fn on_cluster(tm: impl Into<PathBuf>) -> Result<Self> {
        let mut machine = Self::new(tm);
        machine.cluster = Some(Cluster::namespace().await?);
        Ok(machine)
    }

    /// The cluster, when it is not an engine of its own.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The namespace commands work in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.cluster.as_ref().map_or("default", |cluster| &cluster.namespace)
    }

    /// Host of a service's address, without a port.
    #[must_use]
    pub fn host(&self, service: &str) -> String {
        let domain = self.cluster.as_ref().map_or("localhost", |cluster| &cluster.domain);
        format!("{service}.{}.{domain}", self.namespace())
    }

    /// The same machine with another variable for every command.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The engine's state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// A command with this machine's environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let folder = |name: &str| self.root.path().join(name);
        command
            .env("HOME", folder("home"))
            .env("KUBECONFIG", folder("home/kubeconfig"))
            .env("TM_STATE_DIR", folder("state"))
            .env("TM_RUNTIME_DIR", folder("run"))
            .env("NO_COLOR", "1")
            .envs(self.extra.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(cluster) = &self.cluster {
            // The kubeconfig of whoever runs the tests.
            match std::env::var_os("KUBECONFIG") {
                Some(path) => command.env("KUBECONFIG", path),
                None => {
                    command.env_remove("KUBECONFIG").env("HOME", std::env::home_dir().unwrap_or_default())
                }
            };
            command.env("TM_CONTEXT", &cluster.context).env("TM_NAMESPACE", &cluster.namespace);
        }
        for listen in ["TM_HTTP_LISTEN", "TM_REGISTRY_LISTEN", "TM_API_LISTEN"] {
            if !self.extra.iter().any(|(name, _)| name == listen) {
                command.env(listen, "127.0.0.1:0");
            }
        }
        command
    }

    /// Starts `tm` without waiting for it, its output captured.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Child> {
        let mut command = self.command(&self.tm);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("tm starts")
    }

    /// Runs `tm`.
    ///
    /// # Panics
    /// When it cannot be run or takes too long.
    pub async fn tm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let child = self.spawn(args).expect("tm starts");
        let output = timeout(COMMAND_LIMIT, child.wait_with_output()).await;
        Ran::of(&output.expect("tm ends in time").expect("its output can be read"))
    }

    /// Runs `tm`, which must succeed; its stdout.
    ///
    /// # Errors
    /// With everything it printed when it fails.
    pub async fn tm_ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let ran = self.tm(args).await;
        ensure!(ran.code == 0, "exit code {}\nstdout: {}\nstderr: {}", ran.code, ran.stdout, ran.stderr);
        Ok(ran.stdout)
    }

    /// Runs another program with this machine's environment; its output as one text.
    ///
    /// # Errors
    /// With everything it printed when it fails.
    pub async fn run_ok<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        let mut command = self.command(program);
        command.args(args);
        let output = timeout(COMMAND_LIMIT, command.output()).await.context("it ends in time")??;
        let ran = Ran::of(&output);
        ensure!(
            ran.code == 0,
            "{program}: exit code {}\nstdout: {}\nstderr: {}",
            ran.code,
            ran.stdout,
            ran.stderr
        );
        Ok(ran.stdout)
    }

    /// Runs kubectl on the target and in the namespace that commands work in.
    ///
    /// # Errors
    /// With everything it printed when it fails.
    pub async fn kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let context = self.cluster.as_ref().map_or("tm-local", |cluster| &cluster.context);
        let target = ["--context", context, "--namespace", self.namespace()].map(OsStr::new);
        let args: Vec<_> = args.into_iter().collect();
        self.run_ok("kubectl", target.into_iter().chain(args.iter().map(AsRef::as_ref))).await
    }

    /// What `tm local status` says.
    ///
    /// # Errors
    /// When no engine runs.
    pub async fn status(&self) -> Result<Value> {
        let text = self.tm_ok(["local", "status", "-o", "json"]).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Where functions answer.
    ///
    /// # Errors
    /// When no engine runs.
    pub async fn functions(&self) -> Result<SocketAddr> {
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.ingress());
        }
        let status = self.status().await?;
        Ok(status["functions"].as_str().context("an address")?.parse()?)
    }

    /// Calls a function by the service's name (`TAG-SERVICE` for a tag), or by a host with dots as it is.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn call(&self, name: &str, body: &str) -> Result<Answer> {
        let host = if name.contains('.') { name.to_owned() } else { self.host(name) };
        call(self.functions().await?, &host, body).await
    }

    /// PIDs of processes whose environment or command line names this machine's folders, but not this process.
    #[must_use]
    pub fn processes(&self) -> Vec<(i32, String)> {
        let needle = self.root.path().display().to_string();
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id()))
            .filter_map(|pid| {
                let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
                let seen = [read("environ"), read("cmdline"), read("mountinfo")];
                let ours = seen.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(&needle));
                ours.then_some((pid, command))
            })
            .collect()
    }

    /// Stops the engine; whether one ran does not matter.
    fn stop(&self) {
        let mut command = std::process::Command::new(&self.tm);
        command.args(["local", "stop"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("TM_STATE_DIR", self.state()).env("TM_RUNTIME_DIR", self.root.path().join("run"));
        drop(command.status());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.cluster.is_none() {
            self.stop();
        }
    }
}

// === impl Ran ===

impl Ran {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a POST to an ingress.
///
/// # Errors
/// When nobody answers in time.
pub async fn call(ingress: SocketAddr, host: &str, body: &str) -> Result<Answer> {
    crate::tools::install_tls();
    let client = reqwest::Client::builder().timeout(CALL_LIMIT).no_proxy().build()?;
    let request = client.post(format!("http://{ingress}/")).header("Host", host).body(body.to_owned());
    let response = request.send().await.with_context(|| format!("a call of {host}"))?;
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    Ok(Answer { status, headers, body: response.text().await? })
}

/// Looks until `look` says `Ok`; its last error is part of the failure.
///
/// # Errors
/// When the time is up.
pub async fn wait_for<T, F>(what: &str, limit: Duration, mut look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let deadline = Instant::now() + limit;
    let mut pause = LOOK;
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() > deadline => bail!("waited {limit:?} for {what}: {last:#}"),
            Err(_) => sleep(pause).await,
        }
        pause = LONGEST_LOOK.min(pause * 2);
    }
}

/// The repository's root.
///
/// # Panics
/// When the test is not run by cargo.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

/// Copies a folder.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
