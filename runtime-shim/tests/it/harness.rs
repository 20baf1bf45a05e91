//! Starts the shim with a runtime in a temporary folder, talks to it, and ends it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::http::{self, Response};

/// Beyond this something is broken, however slow the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Puts a small client of the Runtime API ahead of a runtime in Python.
const PRELUDE: &str = include_str!("prelude.py");

/// Switches the loopback interface on (`SIOCSIFFLAGS`, up and running) and becomes another program.
const LOOPBACK: &str = "\
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41))
os.execv(sys.argv[1], sys.argv[1:])
";

/// The same for an external extension.
const EXTENSION: &str = include_str!("extension.py");

/// A runtime that does what each event says.
pub(crate) const ACTOR: &str = include_str!("actor.py");
/// A runtime whose results are its events.
pub(crate) const ECHO: &str = "
while True:
    id, body, headers = next_event()
    respond(id, body)
";

/// The shim under test, with its folder. Killed when dropped.
pub(crate) struct Shim {
    process: Child,
    folder: TempDir,
    port: u16,
}

/// A shim that is about to start.
pub(crate) struct Setup {
    command: Command,
    folder: TempDir,
}

// === impl Setup ===

impl Setup {
    /// A shim whose task root is an empty folder.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::of(Path::new(env!("CARGO_BIN_EXE_runtime-shim")), folder)
    }

    /// The same, where the shim has another name.
    pub(crate) fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_runtime-shim"), &program).unwrap();
        Self::of(&program, folder)
    }

    fn of(program: &Path, folder: TempDir) -> Self {
        fs::create_dir(folder.path().join("task")).unwrap();
        let mut command = Command::new(program);
        command
            .env("PORT", "0")
            .env("TM_BIND_ADDRESS", "127.0.0.1")
            .env("TM_PORT_FILE", folder.path().join("port"))
            .env("LAMBDA_TASK_ROOT", folder.path().join("task"))
            // No bootstrap of the machine's own may be found.
            .env("LAMBDA_RUNTIME_DIR", folder.path().join("runtime"))
            .env("TM_EXTENSIONS_DIR", folder.path().join("extensions"))
            .env("FUNCTION_TTL", "20s")
            .env("WORK", folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout")).unwrap())
            .stderr(File::create(folder.path().join("stderr")).unwrap());
        Self { command, folder }
    }

    /// A shim whose bootstrap is this Python program, behind the prelude.
    pub(crate) fn python(program: &str) -> Self {
        Self::empty().python_bootstrap(program)
    }

    /// Writes this Python program, behind the prelude, as the bootstrap.
    pub(crate) fn python_bootstrap(self, program: &str) -> Self {
        self.bootstrap(&format!("#!{} -S\n{PRELUDE}\n{program}", python().display()))
    }

    /// Writes the actor's program into a file.
    pub(crate) fn actor_file(self, name: &str) -> Self {
        self.file(name, &format!("{PRELUDE}\n{ACTOR}"), 0o644)
    }

    /// A shim whose runtime does what each event says.
    pub(crate) fn actor() -> Self {
        Self::python(ACTOR)
    }

    /// Writes the bootstrap.
    pub(crate) fn bootstrap(self, text: &str) -> Self {
        self.file("task/bootstrap", text, 0o755)
    }

    /// Adds an external extension, a Python program behind the preludes.
    pub(crate) fn extension(self, name: &str, program: &str) -> Self {
        let text = format!("#!{} -S\n{PRELUDE}\n{EXTENSION}\n{program}", python().display());
        self.file(&format!("extensions/{name}"), &text, 0o755)
    }

    /// Writes a file into the folder.
    pub(crate) fn file(self, name: &str, text: &str, mode: u32) -> Self {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts the shim in this folder of its own, as an image's `WORKDIR`.
    pub(crate) fn dir(mut self, name: &str) -> Self {
        self.command.current_dir(self.folder.path().join(name));
        self
    }

    /// Takes a variable back.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Has this command start the shim instead. The shim is its last word where `append` says so.
    pub(crate) fn through(mut self, words: &[&str], append: bool) -> Self {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        if append {
            command.arg(self.command.get_program()).args(self.command.get_args());
        }
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        let file = |name| File::create(self.folder.path().join(name)).unwrap();
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        self.command = command;
        self
    }

    /// Adds a command-line word.
    pub(crate) fn arg(mut self, word: &str) -> Self {
        self.command.arg(word);
        self
    }

    /// Sends the function's output there.
    pub(crate) fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Throws the function's output away.
    pub(crate) fn quiet(mut self) -> Self {
        self.command.stdout(Stdio::null());
        self
    }

    /// Runs the shim as PID 1 of a namespace of its own.
    pub(crate) fn in_pid_namespace(self) -> Self {
        self.in_container("exec \"$@\"")
    }

    /// The same, with a mount namespace that this shell text prepares; its last words are `exec "$@"`.
    pub(crate) fn in_container(self, prepare: &str) -> Self {
        self.through(&["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", prepare, "sh"], true)
    }

    /// Runs the shim in a network of its own, where every port is free and nobody else is.
    pub(crate) fn in_network_namespace(self) -> Self {
        let python = python().to_str().unwrap();
        self.through(&["unshare", "--net", python, "-S", "-c", LOOPBACK], true)
    }

    /// The folder's path.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the shim and waits until it serves.
    pub(crate) fn start(self) -> Shim {
        let mut shim = self.spawn();
        let file = shim.folder.path().join("port");
        wait_for("the port file", || {
            if let Some(status) = shim.process.try_wait().unwrap() {
                panic!("the shim ended with {status}: {}", shim.stderr());
            }
            fs::read_to_string(&file).ok()
        });
        shim.port = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        shim
    }

    /// Starts the shim.
    pub(crate) fn spawn(mut self) -> Shim {
        Shim { process: self.command.spawn().unwrap(), folder: self.folder, port: 0 }
    }
}

// === impl Shim ===

impl Shim {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    /// Sends an event and waits for the answer.
    pub(crate) fn invoke(&self, event: &str) -> Response {
        http::post(self.port, event.as_bytes())
    }

    /// Sends an event from a thread of its own.
    pub(crate) fn invoke_later(&self, event: &str) -> std::thread::JoinHandle<Response> {
        let (port, event) = (self.port, event.to_owned());
        std::thread::spawn(move || http::post(port, event.as_bytes()))
    }

    /// A path in the folder that the runtime knows as `$WORK`.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file, for a runtime that waits for it.
    pub(crate) fn touch(&self, name: &str) {
        File::create(self.work(name)).unwrap();
    }

    /// Waits for a file that a runtime makes, and reads it.
    pub(crate) fn wait_file(&self, name: &str) -> String {
        wait_for(name, || fs::read_to_string(self.work(name)).ok())
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.work("stdout")).unwrap()).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.work("stderr")).unwrap()
    }

    /// Waits until the log holds `count` lines that start with `start`.
    pub(crate) fn wait_log(&self, start: &str, count: usize) -> String {
        wait_for(&format!("{count} lines of {start}"), || {
            let log = self.stdout();
            (log.lines().filter(|line| line.starts_with(start)).count() >= count).then_some(log)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the shim's end", || self.process.try_wait().unwrap())
    }

    /// The same where it is PID 1 of a namespace: `unshare` passes the signal on to nobody.
    pub(crate) fn stop_container(&mut self) {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).unwrap();
        kill(Pid::from_raw(children.trim().parse().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(self.wait().code(), Some(0), "{}", self.stderr());
    }

    /// Stops the shim and expects a clean end.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}: {}", self.stderr());
    }
}

/// Whether this machine lets us make PID namespaces.
pub(crate) fn can_unshare() -> bool {
    let made = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).status();
    let can = made.is_ok_and(|status| status.success());
    if !can {
        tm_testkit::tools::skip("no PID namespaces");
    }
    can
}

impl Drop for Shim {
    fn drop(&mut self) {
        // TERM, so that it takes its runtimes along; KILL if that does not help.
        if self.process.try_wait().unwrap().is_none() {
            self.signal(Signal::SIGTERM);
            self.signal(Signal::SIGTERM);
            for _ in 0..500 {
                if self.process.try_wait().unwrap().is_some() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let mut left = PATIENCE.as_millis() / 5;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(left > 0, "waited too long for {what}");
        left -= 1;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is there and not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

/// Python that ends the process on SIGTERM, after `what`. It is a thread that waits: a handler could come too late for a call that
/// just began to block.
pub(crate) fn on_sigterm(what: &str) -> String {
    let thread = "
import threading
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
def watch():
    signal.sigwait({signal.SIGTERM})
    LAST
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
";
    thread.replace("LAST", what)
}

/// The interpreter itself, past any launcher that would only cost time.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let output = output.expect("python3 is needed for these tests");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// JSON of an event for the actor.
pub(crate) fn act(what: &str, more: &[(&str, &str)]) -> String {
    let mut text = format!("{{\"do\":\"{what}\"");
    for (name, value) in more {
        write!(text, ",\"{name}\":\"{value}\"").unwrap();
    }
    text + "}"
}
