//! Log lines (section 6), as golden texts.

use crate::harness::{Setup, Shim, act, wait_for};
use crate::http;

/// The log with ids, numbers and tabs made comparable.
fn golden(shim: &Shim, reports: usize) -> String {
    let log = shim.wait_log("REPORT", reports);
    log.replace('\t', "<TAB>")
}

macro_rules! assert_log {
    ($log:expr, @$expected:literal) => {
        insta::with_settings!({filters => vec![
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]"),
            (r"\d+\.\d\d ms", "[f] ms"),
            (r"Billed Duration: \d+ ms", "Billed Duration: [n] ms"),
            (r"Used: \d+ MB", "Used: [n] MB"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[time]"),
            (r"runtime-shim([/-])\d+\.\d+\.\d+", "runtime-shim$1[version]"),
        ]}, {
            insta::assert_snapshot!($log, @$expected);
        });
    };
}

#[test]
fn lg_01_cold_and_warm() {
    let shim = Setup::actor().env("INVOKER_COUNT", "1").start();
    shim.invoke(&act("say", &[("text", "one")]));
    shim.invoke(&act("say", &[("text", "two")]));
    assert_log!(golden(&shim, 2), @r#"
    INIT_START Runtime Version: runtime-shim/[version]<TAB>Runtime Version ARN: arn:aws:lambda:us-east-1::runtime:runtime-shim-[version]
    START RequestId: [id] Version: $LATEST
    one
    END RequestId: [id]
    REPORT RequestId: [id]<TAB>Duration: [f] ms<TAB>Billed Duration: [n] ms<TAB>Memory Size: 128 MB<TAB>Max Memory Used: [n] MB<TAB>Init Duration: [f] ms<TAB>
    START RequestId: [id] Version: $LATEST
    two
    END RequestId: [id]
    REPORT RequestId: [id]<TAB>Duration: [f] ms<TAB>Billed Duration: [n] ms<TAB>Memory Size: 128 MB<TAB>Max Memory Used: [n] MB<TAB>
    "#);
}

#[test]
fn lg_01_sampled_traces_have_a_line() {
    let shim = Setup::actor().env("INVOKER_COUNT", "1").start();
    for sampled in [1, 0] {
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8";
        http::send(shim.port(), "/", &format!("X-Amzn-Trace-Id: {root};Sampled={sampled}\r\n"), b"1");
    }
    let log = shim.wait_log("REPORT", 2);
    let line =
        "XRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: 53995c3f42cd8ad8\tSampled: true";
    assert_eq!(log.lines().filter(|line| line.starts_with("XRAY")).collect::<Vec<_>>(), [line]);
    assert_eq!(log.lines().position(|other| other == line), Some(4), "{log}");
}

#[test]
fn lg_01_images_that_do_not_start() {
    let shim = Setup::empty().arg("/nowhere/app").arg("main.handle").env("INVOKER_COUNT", "1").start();
    let log = shim.wait_log("INIT_REPORT", 1);
    let line = "IMAGE\tLaunch error: fork/exec /nowhere/app: no such file or directory\tEntrypoint: [/nowhere/app]\tCmd: [main.handle]\tWorkingDir: [/";
    assert!(log.lines().nth(1).unwrap().starts_with(line), "{log}");
}

#[test]
fn crash() {
    let shim = Setup::actor().start();
    shim.invoke(&act("exit", &[("code", "1")]));
    assert_log!(golden(&shim, 1), @r#"
    INIT_START Runtime Version: runtime-shim/[version]<TAB>Runtime Version ARN: arn:aws:lambda:us-east-1::runtime:runtime-shim-[version]
    START RequestId: [id] Version: $LATEST
    RequestId: [id] Error: Runtime exited with error: exit status 1
    Runtime.ExitError
    END RequestId: [id]
    REPORT RequestId: [id]<TAB>Duration: [f] ms<TAB>Billed Duration: [n] ms<TAB>Memory Size: 128 MB<TAB>Max Memory Used: [n] MB<TAB>Init Duration: [f] ms<TAB>Status: error<TAB>Error Type: Runtime.ExitError
    "#);
}

#[test]
fn lg_08_timeout() {
    let shim = Setup::actor().env("FUNCTION_TTL", "250ms").start();
    shim.invoke(&act("hang", &[]));
    let log = golden(&shim, 1);
    assert!(log.contains("Duration: 250.00 ms"), "{log}");
    assert_log!(log, @r#"
    INIT_START Runtime Version: runtime-shim/[version]<TAB>Runtime Version ARN: arn:aws:lambda:us-east-1::runtime:runtime-shim-[version]
    START RequestId: [id] Version: $LATEST
    [time] [id] Task timed out after 0.25 seconds
    END RequestId: [id]
    REPORT RequestId: [id]<TAB>Duration: [f] ms<TAB>Billed Duration: [n] ms<TAB>Memory Size: 128 MB<TAB>Max Memory Used: [n] MB<TAB>Init Duration: [f] ms<TAB>Status: timeout
    "#);
}

#[test]
fn lg_03_failed_init_twice() {
    let shim = Setup::empty().bootstrap("#!/bin/sh\necho trying\nexit 4\n").start();
    shim.invoke("1");
    assert_log!(golden(&shim, 1), @r#"
    INIT_START Runtime Version: runtime-shim/[version]<TAB>Runtime Version ARN: arn:aws:lambda:us-east-1::runtime:runtime-shim-[version]
    trying
    INIT_REPORT Init Duration: [f] ms<TAB>Phase: init<TAB>Status: error<TAB>Error Type: Runtime.ExitError
    trying
    INIT_REPORT Init Duration: [f] ms<TAB>Phase: invoke<TAB>Status: error<TAB>Error Type: Runtime.ExitError
    START RequestId: [id] Version: $LATEST
    RequestId: [id] Error: Runtime exited with error: exit status 4
    Runtime.ExitError
    END RequestId: [id]
    REPORT RequestId: [id]<TAB>Duration: [f] ms<TAB>Billed Duration: [n] ms<TAB>Memory Size: 128 MB<TAB>Max Memory Used: [n] MB<TAB>Status: error<TAB>Error Type: Runtime.ExitError
    "#);
}

#[test]
fn no_bootstrap() {
    let shim =
        Setup::empty().env("LAMBDA_TASK_ROOT", "/nowhere").env("LAMBDA_RUNTIME_DIR", "/nowhere").start();
    shim.invoke("1");
    assert_log!(golden(&shim, 1), @r#"
    INIT_START Runtime Version: runtime-shim/[version]<TAB>Runtime Version ARN: arn:aws:lambda:us-east-1::runtime:runtime-shim-[version]
    INIT_REPORT Init Duration: [f] ms<TAB>Phase: init<TAB>Status: error<TAB>Error Type: Runtime.InvalidEntrypoint
    INIT_REPORT Init Duration: [f] ms<TAB>Phase: invoke<TAB>Status: error<TAB>Error Type: Runtime.InvalidEntrypoint
    START RequestId: [id] Version: $LATEST
    RequestId: [id] Error: Couldn't find valid bootstrap(s): [/nowhere/bootstrap /var/task/bootstrap /opt/bootstrap /var/runtime/bootstrap]
    Runtime.InvalidEntrypoint
    END RequestId: [id]
    REPORT RequestId: [id]<TAB>Duration: [f] ms<TAB>Billed Duration: [n] ms<TAB>Memory Size: 128 MB<TAB>Max Memory Used: [n] MB<TAB>Status: error<TAB>Error Type: Runtime.InvalidEntrypoint
    "#);
}

#[test]
fn lg_02_output_stays_between_start_and_end() {
    // Each invoke writes to both streams right before it answers, without a pause.
    let program = "
while True:
    id, body, headers = next_event()
    os.write(1, b'out ' + body + b'\\n')
    os.write(2, b'err ' + body + b'\\n')
    respond(id, body)
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    for n in 0..200 {
        shim.invoke(&n.to_string());
    }
    let log = shim.wait_log("REPORT", 200);
    let lines: Vec<&str> = log.lines().skip(1).collect();
    assert_eq!(lines.len(), 1000, "five lines for each invoke");
    for (n, invoke) in lines.chunks(5).enumerate() {
        assert!(invoke[0].starts_with("START RequestId: "), "{invoke:?}");
        let mut said = [invoke[1], invoke[2]];
        said.sort_unstable();
        assert_eq!(said, [format!("err {n}"), format!("out {n}")], "{invoke:?}");
        let id = &invoke[0]["START RequestId: ".len()..][..36];
        assert_eq!(invoke[3], format!("END RequestId: {id}"));
        assert!(invoke[4].starts_with(&format!("REPORT RequestId: {id}\t")), "{invoke:?}");
    }
}

#[test]
fn lg_04_lines_are_framed_for_each_stream() {
    let program = "
while True:
    id, body, headers = next_event()
    for _ in range(3):
        os.write(1, b'o\\rut ')
        os.write(2, b'err ')
    os.write(1, b'1\\n')
    os.write(2, b'2\\nrest')
    respond(id, body)
";
    let mut shim = Setup::python(program).start();
    shim.invoke("1");
    shim.wait_log("REPORT", 1);
    shim.stop();
    let log = shim.stdout();
    assert!(log.contains("o\rut o\rut o\rut 1\n"), "{log}");
    assert!(log.contains("err err err 2\n"), "{log}");
    assert!(log.ends_with("rest\n"), "an unfinished line is written when the pipe closes: {log}");
}

#[test]
fn the_last_words_of_a_crash_are_kept() {
    let program = "
id, body, headers = next_event()
os.write(2, b'the last words')
os.kill(os.getpid(), signal.SIGKILL)
";
    let shim = Setup::python(program).start();
    shim.invoke("1");
    let log = shim.wait_log("REPORT", 1);
    let words = log.find("the last words\n").expect("they are there");
    assert!(words < log.find("Runtime.ExitError").unwrap(), "{log}");
}

#[test]
fn lg_05_late_output_belongs_to_the_next_stretch() {
    let program = "
import threading
first = True
while True:
    id, body, headers = next_event()
    if first:
        first = False
        def later():
            wait('go')
            say('late')
            touch('said')
        threading.Thread(target=later, daemon=True).start()
    respond(id, body)
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    shim.invoke("1");
    shim.wait_log("REPORT", 1);
    shim.touch("go");
    shim.wait_file("said");
    let log = wait_for("the late line", || Some(shim.stdout()).filter(|log| log.contains("late\n")));
    assert!(log.find("REPORT").unwrap() < log.find("late\n").unwrap(), "{log}");
}

#[test]
fn lg_07_memory_is_that_of_the_whole_tree() {
    // A child of one of the runtime's threads takes most of it.
    let program = "
import threading
def keep():
    child = subprocess.Popen([sys.executable, '-S', '-c', 'x = bytearray(80 << 20); print(1, flush=True); input()'],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.read(1)
    kept.set()
    threading.Event().wait()
kept = threading.Event()
threading.Thread(target=keep, daemon=True).start()
kept.wait()
while True:
    id, body, headers = next_event()
    respond(id, body)
";
    let shim = Setup::python(program).start();
    shim.invoke("1");
    let log = shim.wait_log("REPORT", 1);
    let used = log.split("Max Memory Used: ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(used.parse::<u64>().unwrap() > 80, "{log}");
}

#[test]
fn en_07_lg_09_json_records() {
    let program = "
while True:
    id, body, headers = next_event()
    say('plain words')
    say('{\"level\":\"INFO\",\"own\":1}')
    if body == b'\"exit\"':
        os._exit(1)
    respond(id, body)
";
    let shim = Setup::python(program).env("AWS_LAMBDA_LOG_FORMAT", "JSON").env("INVOKER_COUNT", "1").start();
    let id = shim.invoke("1").id().to_owned();
    shim.invoke("\"exit\"");
    let log = shim.wait_log("{\"time\"", 6);
    let lines: Vec<&str> = log.lines().collect();
    let kind = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        record["type"].as_str().unwrap_or_default().to_owned()
    };
    let kinds: Vec<String> = lines.iter().map(|line| kind(line)).collect();
    let own = ["", ""];
    let invoke = ["platform.start", own[0], own[1]];
    let expected = [
        &["platform.initStart"][..],
        &invoke,
        &["platform.report"],
        &invoke,
        &["platform.runtimeDone", "platform.report"],
    ]
    .concat();
    assert_eq!(kinds, expected, "{log}");
    assert_eq!(
        &lines[2..4],
        ["plain words", "{\"level\":\"INFO\",\"own\":1}"],
        "the function's lines are its own"
    );
    let report: serde_json::Value = serde_json::from_str(lines[4]).unwrap();
    assert_eq!(
        (&report["record"]["requestId"], &report["record"]["status"]),
        (&id.into(), &"success".into())
    );
    assert!(report["record"]["metrics"]["initDurationMs"].is_number(), "{report}");
    let crash: serde_json::Value = serde_json::from_str(lines[9]).unwrap();
    assert_eq!(crash["record"]["errorType"], "Runtime.ExitError");
}

#[test]
fn lg_09_json_records_of_all_levels() {
    let shim = Setup::actor()
        .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
        .env("TM_SYSTEM_LOG_LEVEL", "DEBUG")
        .env("INVOKER_COUNT", "1")
        .start();
    shim.invoke("1");
    let log = shim.wait_log("{\"time\"", 6);
    let records: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = records.iter().map(|record| record["type"].as_str().unwrap()).collect();
    let expected = ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"];
    assert_eq!(kinds, expected.map(|kind| format!("platform.{kind}")));
    let names: Vec<&str> = records[4]["record"]["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["responseLatency", "responseDuration", "runtimeOverhead"], "{log}");
    assert_eq!(records[4]["record"]["metrics"]["producedBytes"], 1);
    assert_eq!(records[5]["record"]["spans"][0]["name"], "extensionOverhead");
}
