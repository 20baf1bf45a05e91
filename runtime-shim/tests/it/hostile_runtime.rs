//! What no proper runtime does: to its Runtime API, to its own process, and to others. It fails its own invoke; others are
//! unharmed, and the next one gets a working process.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Setup, Shim, act, alive, wait_for};
use crate::http;

/// A runtime whose `play(id, body)` deals with an event; what it noted is the result of the event `"notes"`.
fn start(play: &str, more: impl FnOnce(Setup) -> Setup) -> Shim {
    let program = format!(
        r#"
import threading
notes = []
HOST, PORT = API.split(":")
def raw(data, shut=True):
    sock = socket.create_connection((HOST, int(PORT)))
    sock.settimeout(20)
    try:
        sock.sendall(data)
        if shut: sock.shutdown(socket.SHUT_WR)
    except OSError: pass
    text = b""
    try:
        while True:
            piece = sock.recv(65536)
            if not piece: break
            text += piece
    except OSError: pass
    sock.close()
    return text.decode("latin1")
def status(text): return text.split(" ")[1] if text.startswith("HTTP/1.1 ") else "closed"
def post(id, headers): return ("POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n%s\r\n" % (id, headers)).encode()
{play}
while True:
    id, body, headers = next_event()
    if body == b'"notes"':
        respond(id, json.dumps(notes))
    else:
        play(id, body)
"#
    );
    more(Setup::python(&program).env("INVOKER_COUNT", "1")).start()
}

fn notes(shim: &Shim) -> Value {
    shim.invoke("\"notes\"").json()
}

/// The head is refused, or the connection is; the invoke that is running is answered as if nothing had been.
#[test]
fn requests_to_the_runtime_api_that_are_none() {
    let play = r#"
def play(id, body):
    path = "/2018-06-01/runtime/invocation/next"
    for bytes in [
        b"\0\0\0\0", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 100,
        post(id, "Content-Length: x\r\n"),
        post(id, "Content-Length: -1\r\n"),
        post(id, "Content-Length: 1\r\nContent-Length: 2\r\n") + b"ab",
        post(id, "Bad Name: x\r\n"),
        post(id, "Transfer-Encoding: gzip\r\n") + b"x",
        post(id, "X-Long: " + "x" * (3 << 20) + "\r\n"),
        post(id, "X: y\r\n" * 1000),
    ]:
        notes.append(status(raw(bytes)))
    respond(id, body)
"#;
    let shim = start(play, |setup| setup);
    assert_eq!(shim.invoke("7").text(), "7");
    let notes = notes(&shim);
    let refused = |note: &Value| note.as_str().is_some_and(|note| note == "closed" || note.starts_with('4'));
    assert!(notes.as_array().unwrap().iter().all(refused), "{notes}");
}

/// Bad chunks are a truncated answer, at once and not at the deadline.
#[test]
fn rt_31_bad_chunks_are_truncated_answers() {
    let play = r#"
def play(id, body):
    bad = [b"zz\r\nab\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nab", b"2\r\nabcdef\r\n0\r\n\r\n", b"5\r\nab"][int(body)]
    notes.append(status(raw(post(id, "Transfer-Encoding: chunked\r\n") + bad)))
"#;
    let shim = start(play, |setup| setup);
    for event in ["0", "1", "2", "3"] {
        let answer = shim.invoke(event);
        assert_eq!((answer.status, answer.blamed()), (500, true), "{event}: {}", answer.text());
        assert_eq!(answer.json()["errorType"], "Runtime.TruncatedResponse", "{event}");
    }
    let notes = notes(&shim);
    let refused = |note: &Value| note == "closed" || note == "400";
    assert!(notes.as_array().unwrap().iter().all(refused), "{notes}");
}

/// Calls that do not wait for the answer to the one before are answered in order; what is behind a body with two lengths
/// is not a call.
#[test]
fn pipelined_calls_and_smuggled_ones() {
    let play = r#"
def play(id, body):
    ping = b"GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /2018-06-01/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    text = raw(ping + ping + last, shut=False)
    notes.append([text.count("HTTP/1.1 200"), text.rfind("HTTP/1.1 404") > text.rfind("HTTP/1.1 200") > 0])
    inner = post(id, "Content-Length: 8\r\n") + b"smuggled"
    outer = b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    raw(outer % (len(inner) + 5) + inner)
    respond(id, body)
"#;
    let shim = start(play, |setup| setup);
    let answer = shim.invoke("7");
    assert_eq!((answer.status, answer.text()), (200, "7"));
    assert_eq!(notes(&shim), json!([[2, true]]));
}

/// A result that stops arriving is bounded by the deadline, and so is its sender.
#[test]
fn a_result_that_never_ends() {
    let play = r#"
def play(id, body):
    sock = socket.create_connection((HOST, int(PORT)))
    sock.sendall(post(id, "Content-Length: 100\r\n") + b"half")
    touch("pid", str(os.getpid()))
    time.sleep(1000)
"#;
    let shim = start(play, |setup| setup.env("FUNCTION_TTL", "1s"));
    let answer = shim.invoke("1");
    assert_eq!((answer.status, answer.blamed()), (504, true), "{}", answer.text());
    let pid: i32 = shim.wait_file("pid").parse().unwrap();
    wait_for("the end of the process", || (!alive(pid)).then_some(()));
    wait_for("a new process", || (shim.invoke("\"notes\"").text() == "[]").then_some(()));
}

/// The ids of others are unknown ids.
#[test]
fn rt_43_nobody_answers_for_another_worker() {
    let program = r#"
while True:
    id, body, headers = next_event()
    event = json.loads(body)
    if event == "held":
        touch("id", id)
        wait("go")
        respond(id, b"mine")
    else:
        code, _, text = respond(event["id"], b"not mine")
        respond(id, json.dumps([code, json.loads(text)["errorType"]]))
"#;
    let shared = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for port in ["0", &shared] {
        let shim = Setup::python(program).env("INVOKER_COUNT", "2").env("INTERNAL_API_PORT", port).start();
        let held = shim.invoke_later("\"held\"");
        let id = shim.wait_file("id");
        let answer = shim.invoke(&json!({"id": id}).to_string());
        assert_eq!(answer.json(), json!([400, "InvalidRequestID"]), "port {port}");
        shim.touch("go");
        assert_eq!(held.join().unwrap().text(), "mine");
    }
}

/// A process that escaped would answer for an invoke that has timed out, while the next one runs on the same port.
#[test]
fn late_answers_are_nobodys() {
    let program = r#"
import urllib.request
def post_later(id):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            wait("second")
            request = urllib.request.Request("http://%s/2018-06-01/runtime/invocation/%s/response" % (API, id), b"late", method="POST")
            try: text = str(urllib.request.urlopen(request, timeout=5).status)
            except Exception as error: text = str(getattr(error, "code", "refused"))
            touch("late", text)
        os._exit(0)
    os.wait()
while True:
    id, body, headers = next_event()
    if body == b'"slow"':
        post_later(id)
        time.sleep(1000)
    touch("second")
    wait("go")
    respond(id, body)
"#;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let shim = Setup::python(program)
        .env("INVOKER_COUNT", "1")
        .env("INTERNAL_API_PORT", &port)
        .env("FUNCTION_TTL", "3s")
        .start();
    assert_eq!(shim.invoke("\"slow\"").status, 504);
    let second = shim.invoke_later("2");
    shim.wait_file("second");
    shim.touch("go");
    assert_eq!(second.join().unwrap().text(), "2");
    // It was ended with its worker; had it escaped that as well, it would have been refused.
    if let Ok(late) = std::fs::read_to_string(shim.work("late")) {
        assert_ne!(late, "202");
    }
}

#[test]
fn a_runtime_that_closes_its_output() {
    let play = "
def play(id, body):
    for fd in (0, 1, 2):
        try: os.close(fd)
        except OSError: pass
    respond(id, body)
";
    let shim = start(play, |setup| setup);
    for event in ["1", "2", "3"] {
        assert_eq!(shim.invoke(event).text(), event);
    }
    shim.wait_log("REPORT", 3);
    // A closed pipe is always readable: the shim must not look at it again and again.
    let mut asleep = 0;
    wait_for("the shim to rest", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", shim.pid())).unwrap();
        let sleeps = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"));
        asleep = if sleeps { asleep + 1 } else { 0 };
        (asleep == 10).then_some(())
    });
}

/// A child that holds the pipes and the API's connection does not hold up the news of its parent's end.
#[test]
fn a_child_that_holds_everything_open() {
    let play = "
def play(id, body):
    if os.fork() == 0:
        touch('child', str(os.getpid()))
        time.sleep(1000)
    wait('child')
    os._exit(4)
";
    let shim = start(play, |setup| setup);
    let answer = shim.invoke("1");
    assert!(answer.text().contains("exit status 4"), "{}", answer.text());
    let child: i32 = shim.wait_file("child").parse().unwrap();
    wait_for("the end of the child", || (!alive(child)).then_some(()));
    assert_eq!(notes(&shim), json!([]));
}

/// Nobody reads the shim's stdout, and the function fills its own: it is its own invoke that fails, at the deadline. Its worker
/// starts again, and so do others.
#[test]
fn a_pipe_that_nobody_reads() {
    let play = r#"
def play(id, body):
    if body == b'"fill"':
        for _ in range(200): os.write(1, b"x" * 65535 + b"\n")
    if body == b'"hold"':
        touch("held")
        wait("go")
    respond(id, body)
"#;
    for format in ["TEXT", "JSON"] {
        let mut piped = None;
        let shim = start(play, |setup| {
            let (reader, writer) = std::io::pipe().unwrap();
            piped = Some(reader);
            let setup = setup.stdout(writer).env("FUNCTION_TTL", "6s");
            setup.env("INVOKER_COUNT", "2").env("AWS_LAMBDA_LOG_FORMAT", format)
        });
        let answer = shim.invoke("\"fill\"");
        assert_eq!((answer.status, answer.blamed()), (504, true), "{format}: {}", answer.text());
        for event in ["1", "2"] {
            assert_eq!(shim.invoke(event).text(), event, "{format}: who says little is answered");
        }
        let held = shim.invoke_later("\"hold\"");
        shim.wait_file("held");
        assert_eq!(shim.invoke("3").text(), "3", "{format}: a worker that starts now is not held up, either");
        shim.touch("go");
        assert_eq!(held.join().unwrap().text(), "\"hold\"", "{format}");
        drop(piped);
        assert_eq!(shim.invoke("4").text(), "4", "{format}: a closed stdout is no reason to stop");
    }
}

/// Load on four workers, one of which is killed with an invoke in its hands: that invoke fails, every other is answered.
#[test]
fn lc_09_a_worker_that_is_killed_under_load_costs_one_invoke() {
    let shim = Setup::actor().env("INVOKER_COUNT", "4").start();
    let held = shim.invoke_later(&act("hang", &[]));
    let victim: i32 = shim.wait_file("hanging").parse().unwrap();
    let port = shim.port();
    let clients: Vec<_> = (0..8)
        .map(|client| {
            std::thread::spawn(move || {
                (0..60)
                    .map(|n| {
                        let event = format!("[{client}, {n}]");
                        (http::post(port, event.as_bytes()), event)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    // In the middle of it.
    shim.wait_log("REPORT", 100);
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    let failed = held.join().unwrap();
    assert_eq!((failed.status, failed.blamed()), (500, true));
    assert!(failed.text().contains("signal: killed"), "{}", failed.text());
    for (answer, event) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
        assert_eq!((answer.status, answer.text()), (200, &*event));
    }
    // Its place is taken again when it is needed.
    let names = ["a", "b", "c", "d"];
    let all = names.map(|name| shim.invoke_later(&act("wait", &[("started", name), ("until", "go")])));
    for name in names {
        shim.wait_file(name);
    }
    shim.touch("go");
    assert!(all.into_iter().all(|call| call.join().unwrap().status == 200));
}
