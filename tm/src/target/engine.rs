//! Starting, finding and stopping the embedded engine.

use std::{
    io::{Read, Seek, SeekFrom},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tm_engine::{
    engine::{LockError, RunnerKind, Running, VERSION, running},
    paths::Paths,
};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{cli::LocalStart, error::HintExt, printer::Printer};

/// Longest wait for a started engine.
const START_LIMIT: Duration = Duration::from_secs(15);
/// The same when it may have to pull a base image and push it into its registry.
const DOCKER_START_LIMIT: Duration = Duration::from_secs(900);
/// Longest wait for its end; then it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// The engine that runs, started now if need be.
pub(crate) async fn ensure_running(paths: &Paths, printer: &Printer) -> Result<Running> {
    match find(paths)? {
        Some(engine) => Ok(engine),
        None => start(paths, &LocalStart::default(), printer).await,
    }
}

/// The engine that runs, if any.
pub(crate) fn find(paths: &Paths) -> Result<Option<Running>> {
    let found = running(paths).context("failed to look for the engine")?;
    if let Some(engine) = &found
        && engine.version != VERSION
    {
        let text = format!("an engine of version {} is running, and this is tm {VERSION}", engine.version);
        return Err(anyhow::anyhow!(text))
            .hint("stop it with `tm local stop`; the next command starts this version's");
    }
    Ok(found)
}

/// Starts the engine in the background and waits until it is ready. Another tm may do the same at the same time: one of
/// the two engines gets the lock, and both commands go on with that one.
pub(crate) async fn start(paths: &Paths, settings: &LocalStart, printer: &Printer) -> Result<Running> {
    paths.create()?;
    let begin = fs::metadata(paths.log()).map_or(0, |data| data.len());
    let log = fs::OpenOptions::new().create(true).append(true).open(paths.log())?;
    let exe = std::env::current_exe().context("failed to find this program's own file")?;
    let mut command = Command::new(exe);
    command.arg("engine").args(flags(settings)).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log.into_parts().0).process_group(0).current_dir("/");
    let mut child = command.spawn().context("failed to start the engine")?;
    printer.debug(&format!("started the engine, log in {}", paths.log().display()));
    let limit = start_limit(settings);
    let deadline = Instant::now() + limit;
    let mut ended = None;
    loop {
        if let Some(engine) = running(paths).or_else(not_yet)? {
            return Ok(engine);
        }
        if ended.is_none()
            && let Some(status) = child.try_wait()?
        {
            let reason = last_error(paths, begin);
            // A rival got the lock: its engine is the one to wait for.
            if !reason.contains("another engine is running") {
                return failed(status, &reason);
            }
            ended = Some(status);
        }
        if Instant::now() > deadline {
            bail!(
                "the engine was not ready within {} seconds: {}",
                limit.as_secs(),
                last_error(paths, begin)
            );
        }
        sleep(LOOK).await;
    }
}

fn start_limit(settings: &LocalStart) -> Duration {
    let docker = RunnerKind::Docker;
    let from_env = || std::env::var(RunnerKind::ENV).is_ok_and(|name| name == docker.as_str());
    let in_docker = settings.runner.map_or_else(from_env, |runner| runner == docker);
    if in_docker { DOCKER_START_LIMIT } else { START_LIMIT }
}

/// A lock file that is being written reads as half a line.
fn not_yet(error: LockError) -> Result<Option<Running>> {
    match error {
        LockError::Parse(_) => Ok(None),
        error => Err(error.into()),
    }
}

fn failed(status: std::process::ExitStatus, reason: &str) -> Result<Running> {
    let text = if reason.is_empty() { format!("it ended with {status}") } else { reason.to_owned() };
    let error = Err(anyhow::anyhow!(text).context("the engine did not start"));
    if reason.contains("failed to listen") {
        error.hint("choose free addresses: `tm local start --http-listen 127.0.0.1:PORT`, or TM_HTTP_LISTEN, TM_REGISTRY_LISTEN, TM_API_LISTEN")
    } else if reason.contains("Docker engine") {
        error.hint("is the Docker engine running? DOCKER_HOST names its socket if it is not the usual one")
    } else if reason.contains("state") || reason.contains("store") {
        error.hint("move the state folder away to begin anew, or name another one with TM_STATE_DIR")
    } else {
        error.hint("`tm local logs` shows the whole log")
    }
}

fn flags(settings: &LocalStart) -> Vec<String> {
    let runner = settings.runner.map(|runner| runner.as_str().to_owned());
    let all = [
        ("--http-listen", &settings.http_listen),
        ("--registry-listen", &settings.registry_listen),
        ("--api-listen", &settings.api_listen),
        ("--domain", &settings.domain),
        ("--isolation", &settings.isolation),
        ("--runner", &runner),
        ("--docker-base-image", &settings.docker_base_image),
    ];
    all.into_iter()
        .filter_map(|(flag, value)| value.as_ref().map(|value| [flag.to_owned(), value.clone()]))
        .flatten()
        .collect()
}

/// The last line the engine wrote since it was started: its reason to end.
fn last_error(paths: &Paths, begin: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(paths.log())?;
        // It is shorter when the engine began it anew.
        let begin = if file.metadata()?.len() < begin { 0 } else { begin };
        file.seek(SeekFrom::Start(begin))?;
        let mut text = String::new();
        file.take(1 << 20).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    last.strip_prefix("tm engine: ").unwrap_or(last).to_owned()
}

/// Whether a process runs; one that has ended and only waits for its parent does not.
fn is_alive(pid: Pid) -> bool {
    let ended = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // `PID (NAME) STATE …`, and the name may be anything.
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
    };
    kill(pid, None).is_ok() && !ended()
}

/// Stops the engine; `false` when none ran.
pub(crate) async fn stop(paths: &Paths) -> Result<bool> {
    // An engine of any version is to be stopped.
    let Some(engine) = running(paths).context("failed to look for the engine")? else { return Ok(false) };
    let pid = Pid::from_raw(i32::try_from(engine.pid).context("the lock file names no process")?);
    kill(pid, Signal::SIGTERM).context("failed to signal the engine")?;
    let deadline = Instant::now() + STOP_LIMIT;
    // It lets the lock go a moment before it ends.
    while running(paths).or_else(not_yet)?.is_some() || is_alive(pid) {
        if Instant::now() > deadline {
            kill(pid, Signal::SIGKILL).context("failed to kill the engine")?;
            bail!("the engine did not stop within {} seconds and was killed", STOP_LIMIT.as_secs());
        }
        sleep(LOOK).await;
    }
    Ok(true)
}
