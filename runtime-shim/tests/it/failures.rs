//! What callers get when functions fail (section 4.4), and that the next caller gets a working function again.

use nix::sys::signal::Signal;

use crate::harness::{Setup, Shim, act, alive, wait_for};
use crate::http;

fn exit_error(id: &str, reason: &str) -> String {
    format!(r#"{{"errorType":"Runtime.ExitError","errorMessage":"RequestId: {id} Error: {reason}"}}"#)
}

/// The function is to blame, with this payload, and the next invoke works.
fn assert_fails(shim: &Shim, event: &str, reason: &str) {
    let answer = shim.invoke(event);
    assert_eq!((answer.status, answer.blamed()), (500, true));
    assert_eq!(answer.text(), exit_error(answer.id(), reason));
    assert_eq!(shim.invoke("1").text(), "1", "the next invoke gets a new process");
}

#[test]
fn rt_33_rt_38_ce_22_an_error_of_the_function_is_passed_on_verbatim() {
    let shim = Setup::actor().start();
    let answer = shim.invoke(&act("error", &[]));
    assert_eq!((answer.status, answer.blamed()), (500, true));
    assert_eq!(answer.text(), r#"{"errorMessage":"no","errorType":"Oops","stackTrace":[]}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(!shim.stdout().contains("Status:"), "an error it reported is not a crash: {}", shim.stdout());
}

#[test]
fn rt_38_errors_are_called_what_they_are() {
    let program = "
while True:
    id, body, headers = next_event()
    fail(id, bytes(json.loads(body)), {'Content-Type': 'application/json'})
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    let json = [&b"{\"errorType\":\"Mine\"}"[..], b" 7 ", b"\"text\""].map(|body| (body, "application/json"));
    let bytes = [&b"no JSON"[..], b"{", b"\"\xff\""].map(|body| (body, "application/octet-stream"));
    for (path, status) in [("/", 500), ("/2015-03-31/functions/function/invocations", 200)] {
        for (body, expected) in json.into_iter().chain(bytes) {
            let answer = http::send(shim.port(), path, "", format!("{body:?}").as_bytes());
            assert_eq!((answer.status, answer.blamed()), (status, true), "{answer:?}");
            assert_eq!((answer.body.as_slice(), answer.header("content-type")), (body, Some(expected)));
        }
    }
}

#[test]
fn lc_09_crash_with_an_exit_code() {
    let shim = Setup::actor().start();
    assert_fails(&shim, &act("exit", &[("code", "1")]), "Runtime exited with error: exit status 1");
}

#[test]
fn lc_10_exit_with_zero() {
    let shim = Setup::actor().start();
    assert_fails(&shim, &act("exit", &[("code", "0")]), "Runtime exited without providing a reason");
}

#[test]
fn killed_by_a_signal() {
    let shim = Setup::actor().start();
    assert_fails(&shim, &act("signal", &[("number", "9")]), "Runtime exited with error: signal: killed");
}

#[test]
fn lc_11_ce_20_a_hanging_function_times_out_and_its_process_is_replaced() {
    let shim = Setup::actor().env("FUNCTION_TTL", "2s").env("INVOKER_COUNT", "1").start();
    let answer = shim.invoke(&act("hang", &[]));
    assert_eq!((answer.status, answer.blamed()), (504, true));
    let expected = format!(
        r#"{{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: {} Error: Task timed out after 2.00 seconds"}}"#,
        answer.id()
    );
    assert_eq!(answer.text(), expected);
    let pid: i32 = shim.wait_file("hanging").parse().unwrap();
    wait_for("the end of the hanging process", || (!alive(pid)).then_some(()));
    // An init of this runtime takes longer than the timeout on a slow machine, so ask until it fits.
    wait_for("a new process", || (shim.invoke("1").text() == "1").then_some(()));
}

/// The next process finds what the one before left there.
#[test]
fn lc_11_temporary_files_are_kept() {
    let program = "
import tempfile
kept = os.path.join(tempfile.gettempdir(), 'kept')
while True:
    id, body, headers = next_event()
    if body == b'\"hang\"':
        open(kept, 'w').write(str(os.getpid()))
        time.sleep(1000)
    respond(id, json.dumps([os.path.exists(kept) and open(kept).read(), os.getpid()]))
";
    let setup = Setup::python(program);
    std::fs::create_dir(setup.path().join("tmp")).unwrap();
    let tmp = setup.path().join("tmp").to_str().unwrap().to_owned();
    let shim = setup.env("TMPDIR", &tmp).env("FUNCTION_TTL", "2s").env("INVOKER_COUNT", "1").start();
    assert_eq!(shim.invoke("\"hang\"").status, 504);
    let told =
        wait_for("a new process", || Some(shim.invoke("1")).filter(|answer| answer.status == 200)).json();
    let (before, now) = (told[0].as_str().unwrap().to_owned(), told[1].to_string());
    assert!(!before.is_empty() && before != now, "{told}");
}

#[test]
fn one_workers_crash_does_not_hurt_another() {
    let shim = Setup::actor().env("INVOKER_COUNT", "2").start();
    let waiting = shim.invoke_later(&act("wait", &[("started", "started"), ("until", "go")]));
    shim.wait_file("started");
    let crashed = shim.invoke(&act("exit", &[("code", "7")]));
    assert_eq!(crashed.text(), exit_error(crashed.id(), "Runtime exited with error: exit status 7"));
    shim.touch("go");
    assert_eq!(waiting.join().unwrap().status, 200);
}

#[test]
fn rt_36_rt_37_an_init_error_is_the_result_of_the_invoke() {
    let program = r#"
call("POST", "runtime/init/error", b'{"errorMessage":"broken","errorType":"Mine"}',
     {"Lambda-Runtime-Function-Error-Type": "Runtime.BadConfig"})
sys.exit(1)
"#;
    let shim = Setup::python(program).start();
    for _ in 0..2 {
        let answer = shim.invoke("1");
        assert_eq!((answer.status, answer.blamed()), (500, true));
        assert_eq!(answer.text(), r#"{"errorMessage":"broken","errorType":"Mine"}"#);
    }
    let log = shim.wait_log("REPORT", 2);
    assert!(log.contains("\tPhase: init\tStatus: error\tError Type: Runtime.BadConfig\n"), "{log}");
    assert!(log.contains("\tPhase: invoke\tStatus: error\tError Type: Runtime.BadConfig\n"), "{log}");
}

#[test]
fn lc_04_an_init_that_recovers_is_forgiven() {
    // Fails once, then works: the init is repeated inside the first invoke (LC-04).
    let program = "
if not os.path.exists(path('tried')):
    touch('tried')
    sys.exit(5)
while True:
    id, body, headers = next_event()
    respond(id, body)
";
    let shim = Setup::python(program).start();
    assert_eq!(shim.invoke("1").text(), "1");
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains("Phase: init\tStatus: error\tError Type: Runtime.ExitError\n"), "{log}");
    assert!(!log.contains("Phase: invoke"), "{log}");
    assert!(!log.lines().last().unwrap().contains("Init Duration"), "it is inside the duration: {log}");
}

#[test]
fn lc_14_a_crash_during_init_is_an_exit_error() {
    let shim = Setup::empty().bootstrap("#!/bin/sh\nkill -SEGV $$\n").start();
    let answer = shim.invoke("1");
    assert_eq!(answer.status, 500);
    assert!(
        answer.text().contains("Runtime exited with error: signal: segmentation fault"),
        "{}",
        answer.text()
    );
}

#[test]
fn lc_03_lm_08_an_init_that_hangs_opens_the_port_and_fails_the_invoke() {
    let shim = Setup::empty()
        .bootstrap("#!/bin/sh\nexec sleep 1000\n")
        .env("TM_INIT_TIMEOUT", "100ms")
        .env("FUNCTION_TTL", "200ms")
        .start();
    let answer = shim.invoke("1");
    assert_eq!((answer.status, answer.blamed()), (504, true));
    assert!(answer.text().contains("Sandbox.Timedout"), "{}", answer.text());
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains("Phase: init\tStatus: timeout\n"), "{log}");
    assert!(log.contains("Phase: invoke\tStatus: timeout\n"), "{log}");
}

/// The four ways of EN-21.
#[test]
fn en_21_unusable_bootstraps() {
    let folder = Setup::empty();
    std::fs::create_dir(folder.path().join("task/bootstrap")).unwrap();
    for (setup, reason) in [
        (Setup::empty(), "Couldn't find valid bootstrap(s): ["),
        (Setup::empty().file("task/bootstrap", "#!/bin/sh\n", 0o644), "permission denied"),
        (Setup::empty().bootstrap("no program at all"), "exec format error"),
        (folder, "not a regular file"),
    ] {
        let shim = setup.start();
        let answer = shim.invoke("1");
        assert_eq!((answer.status, answer.blamed()), (500, true));
        let error = answer.json();
        assert_eq!(error["errorType"], "Runtime.InvalidEntrypoint");
        let message = error["errorMessage"].as_str().unwrap();
        assert!(message.starts_with(&format!("RequestId: {} Error: ", answer.id())), "{message}");
        assert!(message.contains(reason), "{message}");
        // The bootstrap is looked up again at each start.
        let path = shim.work("task/bootstrap");
        if reason == "permission denied" {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
            assert!(shim.invoke("1").text().contains("Runtime.ExitError"));
        }
    }
}

#[test]
fn a_task_root_that_is_not_there() {
    let shim =
        Setup::actor().env("LAMBDA_TASK_ROOT", "/nowhere/at/all").env("LAMBDA_RUNTIME_DIR", "/").start();
    let error = shim.invoke("1").json();
    let error_type = error["errorType"].as_str().unwrap();
    assert!(
        error_type == "Runtime.InvalidEntrypoint" || error_type == "Runtime.InvalidWorkingDir",
        "{error}"
    );
}

#[test]
fn a_process_that_ends_while_idle_is_replaced_when_it_is_needed() {
    let shim = Setup::actor().start();
    let pid = shim.invoke(&act("who", &[])).json()["pid"].as_i64().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    let answer = wait_for("a new process", || {
        // The shim may learn of the end only while it hands the event over; then the caller learns it, too.
        let answer = shim.invoke(&act("who", &[]));
        (answer.status == 200).then_some(answer)
    });
    assert_ne!(answer.json()["pid"], pid);
}

#[test]
fn lc_07_a_crash_behind_the_answer_does_not_change_the_answer() {
    let program = "
id, body, headers = next_event()
respond(id, body)
os._exit(3)
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    for event in ["1", "2"] {
        let answer = shim.invoke(event);
        assert_eq!((answer.status, answer.text()), (200, event));
    }
    let log = shim.wait_log("REPORT", 2);
    assert!(log.contains("Error: Runtime exited with error: exit status 3\nRuntime.ExitError\nEND"), "{log}");
}
