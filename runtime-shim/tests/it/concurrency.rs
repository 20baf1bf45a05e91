//! Several invokes at a time in one process (`TM_MAX_CONCURRENCY`, RT-41, RT-42): a runtime with a thread for each, and the published
//! clients of four languages, each of which starts its own kind of loops.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tm_testkit::tools::has;

use crate::harness::{Setup, Shim, act, wait_for};
use crate::http;
use crate::{official_go, official_java, official_python, official_rust};

/// The actor, in as many threads as it is told.
const THREADS: &str = r#"
import threading
class Slot(threading.local):
    pass
slot = Slot()
def call(method, path, body=None, headers={}):
    if not hasattr(slot, "connection"): slot.connection = http.client.HTTPConnection(API)
    slot.connection.request(method, "/2018-06-01/" + path, body, headers)
    response = slot.connection.getresponse()
    return response.status, dict(response.headers), response.read()
def pieces(id, event):
    sock = socket.create_connection(API.split(":"))
    def send(data): sock.sendall(b"%x\r\n" % len(data) + data + b"\r\n")
    sock.sendall(("POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Type: text/css\r\n"
        "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n" % id).encode())
    send(event["mine"].encode())
    wait(event["until"])
    send(b" end")
    sock.sendall(b"0\r\n\r\n")
    return sock.recv(4096)
def flood(id):
    sock = socket.create_connection(API.split(":"))
    sock.sendall(("POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
        "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n" % id).encode())
    for _ in range(600): sock.sendall(b"186a0\r\n" + b"x" * 100000 + b"\r\n")
    sock.sendall(b"0\r\n\r\n")
    touch("flooded", sock.recv(4096).split(b" ")[1].decode())
def play(id, body):
    event = json.loads(body)
    what = event.get("do") if isinstance(event, dict) else None
    if what == "wait":
        touch(event["started"], str(os.getpid()))
        wait(event["until"])
    if what == "late":
        touch(event["started"])
        wait(event["until"])
        touch("told", json.dumps([respond(id, b"late")[0], respond(id, b"later")[0]]))
        return
    if what == "exit": os._exit(7)
    if what == "error": return fail(id, b'{"errorType":"Oops","errorMessage":"no"}')
    if what == "stream": return pieces(id, event)
    if what == "flood": return flood(id)
    if what == "twice": respond(id, b"first"); touch("twice", str(respond(id, b"second")[0])); return
    if what == "who": return respond(id, json.dumps([os.getpid(), os.environ["AWS_LAMBDA_MAX_CONCURRENCY"], os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]))
    respond(id, json.dumps(event))
def loop():
    while True:
        id, body, headers = next_event()
        play(id, body)
threads = [threading.Thread(target=loop) for _ in range(int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]))]
for thread in threads: thread.start()
"#;

fn setup(slots: usize) -> Setup {
    Setup::python(THREADS).env("INVOKER_COUNT", "1").env("TM_MAX_CONCURRENCY", &slots.to_string())
}

#[test]
fn ex_15_records_say_the_type_of_the_init_and_the_tenant() {
    let shim = setup(2).env("AWS_LAMBDA_LOG_FORMAT", "JSON").start();
    http::send(
        shim.port(),
        "/2015-03-31/functions/function/invocations",
        "X-Amz-Tenant-Id: blue/7\r\n",
        b"1",
    );
    let log = shim.wait_log("{\"time\"", 3);
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records[0]["record"]["initializationType"], "lambda-managed-instances", "{log}");
    assert_eq!(records[1]["record"]["tenantId"], "blue/7", "{log}");
}

fn held(started: &str, until: &str) -> String {
    act("wait", &[("started", started), ("until", until)])
}

fn pid(shim: &Shim) -> i64 {
    shim.invoke(&act("who", &[])).json()[0].as_i64().unwrap()
}

#[test]
fn rt_42_as_many_as_were_allowed_and_in_any_order() {
    let shim = setup(3).start();
    assert_eq!(shim.invoke(&act("who", &[])).json()[1], "3");
    assert_eq!(shim.invoke(&act("who", &[])).json()[2], "lambda-managed-instances");
    let calls =
        [("a", "go-a"), ("b", "go-b"), ("c", "go-c")].map(|(name, go)| shim.invoke_later(&held(name, go)));
    let pids: BTreeSet<String> = ["a", "b", "c"].map(|name| shim.wait_file(name)).into();
    assert_eq!(pids.len(), 1, "one process");
    let fourth = shim.invoke_later("4");
    let [a, b, c] = calls;
    shim.touch("go-b");
    assert_eq!(b.join().unwrap().json()["started"], "b");
    assert_eq!(fourth.join().unwrap().text(), "4", "it waited for a place");
    shim.touch("go-c");
    assert_eq!(c.join().unwrap().json()["started"], "c");
    shim.touch("go-a");
    assert_eq!(a.join().unwrap().json()["started"], "a");
    let log = shim.wait_log("REPORT", 6);
    assert_eq!(log.matches("\nSTART").count(), 6, "{log}");
    assert_eq!(log.matches("Init Duration").count(), 1, "{log}");
}

/// A second process starts when the first one is full, on a port of its own or on the one for all.
#[test]
fn two_processes_with_two_places_each() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for port in ["0", &free] {
        let shim = setup(2).env("INVOKER_COUNT", "2").env("INTERNAL_API_PORT", port).start();
        let names = ["a", "b", "c", "d"];
        let calls = names.map(|name| shim.invoke_later(&held(name, "go")));
        let pids: BTreeSet<String> = names.map(|name| shim.wait_file(name)).into();
        assert_eq!(pids.len(), 2, "port {port}: {pids:?}");
        shim.touch("go");
        for (name, call) in names.iter().zip(calls) {
            assert_eq!(call.join().unwrap().json()["started"], *name, "port {port}");
        }
    }
}

#[test]
fn rt_42_answers_and_errors_find_their_callers() {
    let shim = setup(8).start();
    let threads: Vec<_> = (0..8)
        .map(|client| {
            let port = shim.port();
            std::thread::spawn(move || {
                for n in 0..40 {
                    let event = format!("[{client}, {n}]");
                    let answer = http::post(port, event.as_bytes());
                    assert_eq!((answer.status, answer.text()), (200, &*event));
                    let error = http::post(port, act("error", &[]).as_bytes());
                    assert_eq!((error.status, error.blamed()), (500, true));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(shim.invoke(&act("twice", &[])).text(), "first");
    assert_eq!(shim.wait_file("twice"), "400");
}

#[test]
fn a_crash_fails_all_that_it_held() {
    let shim = setup(3).start();
    let before = pid(&shim);
    let others = ["a", "b"].map(|name| shim.invoke_later(&held(name, "never")));
    for name in ["a", "b"] {
        shim.wait_file(name);
    }
    let crashed = shim.invoke(&act("exit", &[]));
    for answer in others.into_iter().map(|call| call.join().unwrap()).chain([crashed]) {
        assert_eq!((answer.status, answer.blamed()), (500, true));
        assert!(answer.text().contains(&format!("RequestId: {}", answer.id())), "{}", answer.text());
        assert!(answer.text().contains("exit status 7"), "{}", answer.text());
    }
    assert_ne!(pid(&shim), before);
}

/// The others go on, a late answer is told so, and the process goes when nobody is harmed any more.
#[test]
fn rt_42_a_time_out_fails_its_own_invoke() {
    let shim = setup(3).env("FUNCTION_TTL", "6s").start();
    let late = shim.invoke_later(&act("late", &[("started", "late"), ("until", "past")]));
    shim.wait_file("late");
    // So much later that it is still there when the first one's time is over.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let other = shim.invoke_later(&held("other", "go"));
    let process: i64 = shim.wait_file("other").parse().unwrap();
    let answer = late.join().unwrap();
    assert_eq!((answer.status, answer.blamed()), (504, true), "{}", answer.text());
    shim.touch("past");
    assert_eq!(shim.wait_file("told"), "[410, 400]");
    shim.touch("go");
    assert_eq!(other.join().unwrap().status, 200);
    assert_eq!(pid(&shim), process, "it came back from the late one, so it may stay");

    let hung = shim.invoke_later(&held("hung", "never"));
    assert_eq!(hung.join().unwrap().status, 504);
    wait_for("another process", || {
        // A start may take longer than an invoke is allowed to, on a busy machine.
        let answer = shim.invoke(&act("who", &[]));
        (answer.status == 200 && answer.json()[0] != process).then_some(())
    });
}

#[test]
fn streams_side_by_side() {
    let shim = setup(2).env("TM_INVOKE_MODE", "RESPONSE_STREAM").start();
    let event = |mine: &str, until: &str| act("stream", &[("mine", mine), ("until", until)]);
    let first = shim.invoke_later(&event("first", "go-first"));
    let second = shim.invoke_later(&event("second", "go-second"));
    shim.touch("go-second");
    let second = second.join().unwrap();
    assert!(second.text().contains("second") && second.text().contains(" end"), "{}", second.text());
    shim.touch("go-first");
    assert!(first.join().unwrap().text().contains("first"));
}

/// The runtime that waits for a caller who does not read hears of the deadline, as its process lives on for the others.
#[test]
fn st_07_a_stream_that_nobody_reads_ends_at_its_deadline_beside_others() {
    let shim = setup(2).env("TM_INVOKE_MODE", "RESPONSE_STREAM").env("FUNCTION_TTL", "6s").start();
    let event = act("flood", &[]);
    let mut caller = http::connect(shim.port());
    let head = http::head("POST", "/", &format!("Content-Length: {}\r\n", event.len()));
    caller.write_all((head + &event).as_bytes()).unwrap();
    caller.read_exact(&mut [0; 12]).unwrap();
    // So much later that it is still there when the first one's time is over.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let other = shim.invoke_later(&held("other", "go"));
    shim.wait_file("other");
    assert_eq!(shim.wait_file("flooded"), "410");
    shim.touch("go");
    assert_eq!(other.join().unwrap().status, 200);
    drop(caller);
}

#[test]
fn a_stop_waits_for_all() {
    let mut shim = setup(2).start();
    let both = ["a", "b"].map(|name| shim.invoke_later(&held(name, "go")));
    for name in ["a", "b"] {
        shim.wait_file(name);
    }
    shim.signal(Signal::SIGTERM);
    shim.touch("go");
    assert!(both.into_iter().all(|call| call.join().unwrap().status == 200));
    assert_eq!(shim.wait().code(), Some(0), "{}", shim.stderr());
}

#[test]
fn the_tail_of_the_log_is_there() {
    let shim = setup(2).start();
    let invoke = "/2015-03-31/functions/function/invocations";
    let answer = http::send(shim.port(), invoke, "X-Amz-Log-Type: Tail\r\n", b"1");
    assert!(answer.header("x-amz-log-result").is_some_and(|log| !log.is_empty()), "{}", answer.head);
}

/// Two invokes that wait for each other: in one process, or not at all.
fn meet(shim: &Shim) -> [Value; 2] {
    let event = |mine: &str, other: &str| json!({"mine": mine, "other": other}).to_string();
    let both =
        [("here", "there"), ("there", "here")].map(|(mine, other)| shim.invoke_later(&event(mine, other)));
    both.map(|call| {
        let answer = call.join().unwrap();
        assert_eq!((answer.status, answer.blamed()), (200, false), "{}\n{}", answer.text(), shim.stdout());
        answer.json()
    })
}

fn assert_meets(setup: Setup) {
    let shim = setup.env("INVOKER_COUNT", "1").env("TM_MAX_CONCURRENCY", "4").start();
    let answers = meet(&shim);
    assert_eq!((&answers[0]["met"], &answers[1]["met"]), (&json!("there"), &json!("here")));
    for n in 0..20 {
        let event = format!("[{n}]");
        assert_eq!(shim.invoke(&event).json(), json!([n]));
    }
}

#[test]
fn rt_42_judged_by_the_rust_client() {
    assert_meets(official_rust::setup("concurrent"));
}

#[test]
fn rt_42_judged_by_the_python_client() {
    let app = r#"
import os, time

def handler(event, context):
    if not isinstance(event, dict): return event
    path = lambda name: os.path.join(os.environ["WORK"], name)
    open(path(event["mine"]), "w").close()
    while not os.path.exists(path(event["other"])): time.sleep(0.002)
    return {"met": event["other"]}
"#;
    let runtime = official_python::runtime();
    let setup = Setup::empty()
        .file("task/app.py", app, 0o644)
        .env("LAMBDA_RUNTIME_DIR", runtime.to_str().unwrap())
        .env("_HANDLER", "app.handler");
    assert_meets(setup);
}

#[test]
fn rt_42_judged_by_the_go_client() {
    if !has("go") {
        return;
    }
    let setup = Setup::empty();
    symlink(official_go::function(), setup.path().join("task/bootstrap")).unwrap();
    assert_meets(setup);
}

#[test]
fn rt_42_judged_by_the_java_client() {
    if let Some(_one) = official_java::alone() {
        assert_meets(official_java::setup("App::handle"));
    }
}
