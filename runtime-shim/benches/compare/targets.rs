//! What is measured: processes that answer on a port, ended when their target is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::client;
use crate::tools;

/// The function that is called.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    /// `examples/echo.rs`.
    Rust,
    /// `examples/stream.rs`.
    RustStream,
    /// Echo on AWS's Go client.
    Go,
    /// Echo on AWS's Python client.
    Python,
}

/// Something that answers.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    /// From its start to its first answer, in milliseconds.
    pub(crate) cold: Option<f64>,
    /// The most clients that it survives.
    pub(crate) most_clients: usize,
    processes: Vec<Child>,
    _folder: Option<TempDir>,
}

const WORKERS: usize = 4;

const INVOKE: &str = "/2015-03-31/functions";

const GO_CLIENT: &str = "v1.55.1";

const GO_ECHO: &str = r#"package main

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(_ context.Context, event json.RawMessage) (json.RawMessage, error) { return event, nil })
}
"#;

// === impl Target ===

impl Target {
    /// Seconds of processor time that its processes, and theirs, have used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let ticks = f64::from(
            u32::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap()).unwrap(),
        );
        let stats: Vec<(u32, u32, u64)> =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| stat(&entry.path())).collect();
        let mut tree: Vec<u32> = self.processes.iter().map(Child::id).collect();
        let mut at = 0;
        while let Some(parent) = tree.get(at).copied() {
            tree.extend(stats.iter().filter(|(_, of, _)| *of == parent).map(|(pid, ..)| *pid));
            at += 1;
        }
        let used: u64 = stats.iter().filter(|(pid, ..)| tree.contains(pid)).map(|(.., used)| used).sum();
        f64::from(u32::try_from(used).unwrap()) / ticks
    }

    /// What the first process keeps in memory.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.processes.first()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let group = Pid::from_raw(i32::try_from(process.id()).unwrap());
            let _ = killpg(group, Signal::SIGTERM);
            for _ in 0..300 {
                if process.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = killpg(group, Signal::SIGKILL);
            let _ = process.wait();
        }
    }
}

/// A process's id, its parent's, and the ticks of processor time that it and its ended children have used.
fn stat(folder: &Path) -> Option<(u32, u32, u64)> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let text = fs::read_to_string(folder.join("stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let used: Option<u64> = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some((pid, fields.get(1)?.parse().ok()?, used?))
}

/// Two hops with nothing in them.
pub(crate) fn bare() -> Target {
    let (server, port) = own_role(&["serve"]);
    let (proxy, port) = own_role(&["proxy", &port.to_string()]);
    Target {
        name: "bare proxy".into(),
        port,
        path: "/".into(),
        processes: vec![proxy, server],
        cold: None,
        most_clients: usize::MAX,
        _folder: None,
    }
}

/// The three exchanges of an invoke with nothing in between, with as many workers as the shim has: with `function`, or with one
/// that does nothing but its two exchanges.
pub(crate) fn bare_exchanges(function: Option<Function>) -> Target {
    let (front, port) = own_role(&["exchanges"]);
    let worker = |_| {
        let mut command = match function {
            Some(function) => Command::new(function.bootstrap()),
            None => Command::new(std::env::current_exe().unwrap()),
        };
        if function.is_none() {
            command.args(["worker", &port.to_string()]);
        }
        outside(&mut command, &format!("127.0.0.1:{port}"));
        command.process_group(0).spawn().unwrap()
    };
    Target {
        name: format!("bare exchanges{}", function.map(|it| format!(", {}", it.name())).unwrap_or_default()),
        port,
        path: "/".into(),
        processes: std::iter::once(front).chain((0..WORKERS).map(worker)).collect(),
        cold: None,
        most_clients: usize::MAX,
        _folder: None,
    }
}

/// What a runtime is told by whoever is not the shim.
fn outside(command: &mut Command, api: &str) {
    command
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .env("AWS_LAMBDA_FUNCTION_NAME", "_")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
}

/// This program in another role; it prints its port.
fn own_role(args: &[&str]) -> (Child, u16) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(args).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

/// The shim.
pub(crate) fn shim(function: Function) -> Target {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-shim"));
    command.env("TM_BIND_ADDRESS", "127.0.0.1");
    serve(&format!("runtime-shim, {}", function.name()), command, function, "/")
}

/// Another program that serves bootstraps.
pub(crate) fn peer(name: &str, path: &str, function: Function) -> Target {
    let mut command = Command::new(path);
    let title = format!("{name}, {}", function.name());
    if !name.starts_with("rie") {
        command.env("INTERNAL_API_PORT", free_port().to_string());
        command.env("METRICS_PROMETHEUS_PORT", free_port().to_string());
        return serve(&title, command, function, "/");
    }
    let folder = task(function);
    let port = free_port();
    command
        .args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")])
        .args(["--runtime-api-address", &format!("127.0.0.1:{}", free_port())])
        .arg(folder.path().join("bootstrap"));
    let mut target =
        start(&title, command, function, folder, port, &format!("{INVOKE}/function/invocations"));
    // It ends at two calls at a time.
    target.most_clients = 1;
    target
}

/// A program that is told everything by the environment, as the shim and aws-custom-runtime are.
fn serve(name: &str, command: Command, function: Function, path: &str) -> Target {
    let port = free_port();
    start(name, command, function, task(function), port, path)
}

fn start(
    name: &str,
    mut command: Command,
    function: Function,
    folder: TempDir,
    port: u16,
    path: &str,
) -> Target {
    function.environment(&mut command);
    command
        .env("PORT", port.to_string())
        .env("LAMBDA_TASK_ROOT", folder.path())
        .env("INVOKER_COUNT", WORKERS.to_string())
        // aws-custom-runtime leaves it to the bootstrap, and Python's finds its handler there.
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let process = command.spawn().unwrap();
    // Before anything else, as a warm machine cannot be made cold again.
    let cold = client::first_answer(port, path);
    let target = Target {
        name: name.into(),
        port,
        path: path.into(),
        processes: vec![process],
        cold: Some(cold),
        most_clients: usize::MAX,
        _folder: Some(folder),
    };
    // The idle figure is of a shim that has settled.
    std::thread::sleep(Duration::from_millis(500));
    target
}

/// `cargo lambda watch` without a build of its own: the functions are started here, as many as the shim would start.
pub(crate) fn cargo_lambda(program: &str, function: Function) -> Option<Target> {
    let folder = task(function);
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/main.rs"), "fn main() {}\n").unwrap();
    let manifest = "[package]\nname = \"echo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n";
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    let port = free_port();
    let mut command = Command::new(program);
    command
        .args(["lambda", "watch", "--only-lambda-apis", "-A", "127.0.0.1", "-P", &port.to_string()])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let began = Instant::now();
    let mut processes = vec![command.spawn().ok()?];
    wait_port(port);
    for _ in 0..WORKERS {
        let mut command = Command::new(folder.path().join("bootstrap"));
        function.environment(&mut command);
        // Rust's client takes a URL, Go's and the C++ one inside Python's add the scheme themselves.
        let scheme = if matches!(function, Function::Rust | Function::RustStream) { "http://" } else { "" };
        outside(&mut command, &format!("{scheme}127.0.0.1:{port}/.rt"));
        command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        processes.push(command.spawn().unwrap());
    }
    let (name, path) = (format!("cargo lambda, {}", function.name()), format!("{INVOKE}/_/invocations"));
    // From its own start on, which the functions have to wait for.
    let answers = !client::first_answer(port, &path).is_nan();
    let cold = answers.then(|| began.elapsed().as_secs_f64() * 1000.0);
    std::thread::sleep(Duration::from_secs(1));
    Some(Target { name, port, path, processes, cold, most_clients: usize::MAX, _folder: Some(folder) })
}

/// A task root with the function's bootstrap.
fn task(function: Function) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(function.bootstrap(), folder.path().join("bootstrap")).unwrap();
    fs::write(folder.path().join("app.py"), "def handler(event, context):\n    return event\n").unwrap();
    folder
}

// === impl Function ===

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust echo",
            Self::RustStream => "Rust stream",
            Self::Go => "Go echo",
            Self::Python => "Python echo",
        }
    }

    fn bootstrap(self) -> PathBuf {
        match self {
            Self::Rust => example("echo"),
            Self::RustStream => example("stream"),
            Self::Go => go_echo().join("bootstrap"),
            Self::Python => python_client().join("bootstrap"),
        }
    }

    fn environment(self, command: &mut Command) {
        match self {
            Self::Rust | Self::Go => {}
            Self::RustStream => drop(command.env("TM_INVOKE_MODE", "RESPONSE_STREAM")),
            Self::Python => {
                command.env("LAMBDA_RUNTIME_DIR", python_client()).env("_HANDLER", "app.handler");
            }
        }
    }
}

/// An example of this package, in release form.
fn example(name: &str) -> PathBuf {
    let args = ["build", "--quiet", "--release", "--package", "runtime-shim", "--example", name];
    tools::run(Command::new(env!("CARGO")).args(args));
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

fn go_echo() -> PathBuf {
    tools::cached(&format!("go-echo-{GO_CLIENT}"), |folder| {
        fs::write(folder.join("main.go"), GO_ECHO).unwrap();
        let module = format!("module echo\n\ngo 1.21\n\nrequire github.com/aws/aws-lambda-go {GO_CLIENT}\n");
        fs::write(folder.join("go.mod"), module).unwrap();
        tools::run(Command::new("go").args(["mod", "tidy"]).current_dir(folder));
        tools::run(Command::new("go").args(["build", "-o", "bootstrap", "."]).current_dir(folder));
    })
}

fn python_client() -> PathBuf {
    tools::cached("python-awslambdaric-4.2.2", |folder| {
        let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--target"];
        let client = ["awslambdaric==4.2.2", "simplejson==4.3.0", "snapshot-restore-py==1.0.0"];
        tools::run(Command::new("python3").args(pip).arg(folder).args(client));
        fs::copy(tools::repository("build-tasks/runtimes/python/bootstrap"), folder.join("bootstrap"))
            .unwrap();
    })
}

/// A port that is free now, and very likely a moment later.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_port(port: u16) {
    for _ in 0..3000 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing listens on {port}");
}
