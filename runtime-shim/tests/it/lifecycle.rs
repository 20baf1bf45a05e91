//! Signals, drain, orphans: the duties of PID 1 (LC-17 to LC-20).

use std::io::Read as _;
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::harness::{ECHO, Setup, act, alive, can_unshare, on_sigterm, wait_for};

#[test]
fn lc_20_a_running_invoke_finishes_after_sigterm() {
    let mut shim = Setup::actor().start();
    let waiting = shim.invoke_later(&act("wait", &[("started", "started"), ("until", "go")]));
    shim.wait_file("started");
    shim.signal(Signal::SIGTERM);
    wait_for("the port to close", || TcpStream::connect(("127.0.0.1", shim.port())).is_err().then_some(()));
    shim.touch("go");
    assert_eq!(waiting.join().unwrap().status, 200);
    assert_eq!(shim.wait().code(), Some(0));
    assert!(shim.stdout().contains("REPORT"), "{}", shim.stdout());
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let mut shim = Setup::actor().start();
    let mut idle = TcpStream::connect(("127.0.0.1", shim.port())).unwrap();
    shim.invoke("1");
    shim.stop();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest);
    assert!(rest.is_empty());
}

#[test]
fn the_drain_has_an_end() {
    let mut shim = Setup::actor().env("TM_DRAIN_TIMEOUT", "100ms").start();
    let hanging = shim.invoke_later(&act("hang", &[]));
    let pid: i32 = shim.wait_file("hanging").parse().unwrap();
    shim.signal(Signal::SIGINT);
    assert_eq!(shim.wait().code(), Some(0));
    assert!(!alive(pid), "the runtime outlived the shim");
    // Its connection was cut, or it was told.
    drop(hanging.join());
}

/// The time begins with the signal, for callers and workers alike: the invoke is cut by it, and does not live to its own deadline.
#[test]
fn lc_20_a_drain_takes_its_time_once() {
    let mut shim = Setup::actor().env("TM_DRAIN_TIMEOUT", "5s").env("FUNCTION_TTL", "8s").start();
    let hanging = shim.invoke_later(&act("hang", &[]));
    shim.wait_file("hanging");
    shim.signal(Signal::SIGTERM);
    assert_eq!(shim.wait().code(), Some(0), "{}", shim.stderr());
    let log = shim.stdout();
    assert!(log.contains("REPORT") && !log.contains("Status: timeout"), "{log}");
    drop(hanging.join());
}

#[test]
fn a_second_signal_aborts() {
    let mut shim = Setup::actor().start();
    let hanging = shim.invoke_later(&act("hang", &[]));
    let pid: i32 = shim.wait_file("hanging").parse().unwrap();
    shim.signal(Signal::SIGTERM);
    wait_for("the port to close", || TcpStream::connect(("127.0.0.1", shim.port())).is_err().then_some(()));
    shim.signal(Signal::SIGTERM);
    assert_eq!(shim.wait().code(), Some(1));
    assert!(!alive(pid));
    drop(hanging.join());
}

#[test]
fn runtimes_get_sigterm_first() {
    let program = on_sigterm("touch('terminated'); say('bye')") + ECHO;
    let mut shim = Setup::python(&program).start();
    shim.invoke("1");
    shim.stop();
    assert!(shim.work("terminated").exists());
    assert!(shim.stdout().ends_with("bye\n"), "{}", shim.stdout());
}

#[test]
fn runtimes_that_ignore_sigterm_are_killed() {
    let ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN); touch('pid', str(os.getpid()))";
    let mut shim = Setup::python(&format!("{ignoring}\n{ECHO}")).start();
    let pid: i32 = shim.wait_file("pid").parse().unwrap();
    shim.stop();
    assert!(!alive(pid));
}

#[test]
fn a_signal_during_the_init_ends_it() {
    let mut shim = Setup::empty().bootstrap("#!/bin/sh\necho up\nexec sleep 1000\n").spawn();
    shim.wait_log("up", 1);
    shim.stop();
}

/// A daemon: a new session, its parent gone. It has left the process group and holds the output pipe.
const DAEMON: &str = "
def daemon(name):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            touch(name, str(os.getpid()))
            time.sleep(1000)
        os._exit(0)
    os.wait()
";

#[test]
fn lc_18_escaped_processes_end_with_their_worker() {
    let program = format!(
        "{DAEMON}
daemon('daemon')
while True:
    id, body, headers = next_event()
    if body == b'\"crash\"': os._exit(1)
    respond(id, body)
"
    );
    let shim = Setup::python(&program).env("INVOKER_COUNT", "1").start();
    let pid: i32 = shim.wait_file("daemon").parse().unwrap();
    assert_eq!(shim.invoke("1").status, 200);
    assert!(alive(pid), "while its worker lives it may live, too");
    assert_eq!(shim.invoke("\"crash\"").status, 500);
    wait_for("the end of the daemon", || (!alive(pid)).then_some(()));
    wait_for("no zombies", || zombies(shim.pid()).is_empty().then_some(()));
}

#[test]
fn everything_ends_with_the_shim() {
    let program = format!(
        "{DAEMON}
daemon('daemon')
child = subprocess.Popen(['sleep', '1000'])
touch('child', str(child.pid))
while True:
    id, body, headers = next_event()
    respond(id, body)
"
    );
    let mut shim = Setup::python(&program).start();
    let pids: Vec<i32> =
        ["daemon", "child"].iter().map(|name| shim.wait_file(name).parse().unwrap()).collect();
    shim.stop();
    for pid in pids {
        assert!(!alive(pid), "{pid} outlived the shim");
    }
}

#[test]
fn orphans_are_waited_for() {
    // Each event leaves an orphan behind that ends at once.
    let program = "
while True:
    id, body, headers = next_event()
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
    respond(id, body)
";
    let shim = Setup::python(program).start();
    for _ in 0..10 {
        assert_eq!(shim.invoke("1").status, 200);
    }
    wait_for("no zombies", || zombies(shim.pid()).is_empty().then_some(()));
}

/// Children of the shim that nobody has waited for.
fn zombies(parent: i32) -> Vec<String> {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(&format!(" Z {parent} ")))
        })
        .collect()
}

/// In a PID namespace of its own, as in a container: PID 1 has no default action for SIGTERM, and gets every orphan.
#[test]
fn as_pid_1() {
    if !can_unshare() {
        return;
    }
    let program = format!(
        "{DAEMON}
daemon('daemon')
while True:
    id, body, headers = next_event()
    if body == b'\"crash\"': os._exit(1)
    respond(id, json.dumps([os.getppid(), len(open('/proc/1/task/1/children').read().split())]))
"
    );
    let mut shim = Setup::python(&program).env("INVOKER_COUNT", "1").in_pid_namespace().start();
    // Its parent is PID 1, whose children are the runtime and the adopted daemon.
    assert_eq!(shim.invoke("1").json(), serde_json::json!([1, 2]));
    assert_eq!(shim.invoke("\"crash\"").status, 500);
    assert_eq!(shim.invoke("1").json(), serde_json::json!([1, 2]), "the first daemon ended with its worker");
    shim.stop_container();
}

/// LC-08: AWS freezes environments between invokes, and machines of other people's are frozen, too.
#[test]
fn lc_08_frozen_between_invokes() {
    let shim = Setup::actor().env("INVOKER_COUNT", "1").start();
    let pid = shim.invoke(&act("who", &[])).json()["pid"].as_i64().unwrap();
    let runtime = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    let both = [runtime, nix::unistd::Pid::from_raw(shim.pid())];
    let stopped = |pid: nix::unistd::Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T"))
    };
    for pid in both {
        nix::sys::signal::kill(pid, Signal::SIGSTOP).unwrap();
        wait_for("the freeze", || stopped(pid).then_some(()));
    }
    let waiting = shim.invoke_later(&act("who", &[]));
    // The runtime last: the shim hands the event over to a process that does not run.
    for pid in both.into_iter().rev() {
        nix::sys::signal::kill(pid, Signal::SIGCONT).unwrap();
    }
    assert_eq!(waiting.join().unwrap().json()["pid"], pid, "the same process goes on");
    assert!(!shim.stdout().contains("Status:"), "{}", shim.stdout());
}
