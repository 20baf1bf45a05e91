//! The Runtime API as runtimes see it: order, ids, transport. Each runtime here notes what it was answered and gives its
//! notes as the result of a later invoke.

use serde_json::json;

use crate::harness::{Setup, Shim};

/// Starts a runtime whose `play(id, body)` notes things in `notes`; the event `"notes"` asks for them.
fn start(play: &str) -> Shim {
    let program = format!(
        "
notes = []
def note(answer):
    status, headers, body = answer
    notes.append([status, body.decode()])
def error_type(answer):
    return [answer[0], json.loads(answer[2])['errorType']]
{play}
while True:
    id, body, headers = next_event()
    if body == b'\"notes\"':
        respond(id, json.dumps(notes))
    else:
        play(id, body)
"
    );
    Setup::python(&program).env("INVOKER_COUNT", "1").start()
}

fn notes(shim: &Shim) -> serde_json::Value {
    shim.invoke("\"notes\"").json()
}

#[test]
fn rt_07_rt_14_ce_25_accepted_answers_have_a_json_body() {
    let shim = start(
        "
def play(id, body):
    status, headers, text = respond(id, body)
    notes.append([status, text.decode(), headers['Content-Type'], headers['Content-Length']])
",
    );
    shim.invoke("1");
    assert_eq!(notes(&shim), json!([[202, "{\"status\":\"OK\"}\n", "application/json", "16"]]));
}

/// One connection for all of them, so that each has told where it ends.
#[test]
fn rt_07_every_answer_has_a_length() {
    let shim = start(
        "
def lengths(id):
    answers = [call('GET', 'ping'), call('GET', 'nothing'), call('GET', 'runtime/init/error'), call('POST', 'runtime/init/error', b'{}'),
               respond('other', b'1'), call('GET', '../2020-01-01/extension/event/next'), respond(id, b'x' * 6291557), fail(id, b'{}')]
    return [[status, 'Content-Length' in headers and int(headers['Content-Length']) == len(body) and 'Transfer-Encoding' not in headers]
            for status, headers, body in answers]
def play(id, body):
    if body == b'1': notes.extend(lengths(id))
    else: respond(id, body)
",
    );
    assert!(shim.invoke("1").blamed(), "its result is too large");
    let expected = [200, 404, 405, 403, 400, 404, 413, 403].map(|status| json!([status, true]));
    assert_eq!(notes(&shim), json!(expected));
}

#[test]
fn rt_35_second_answers_are_400_and_the_first_one_counts() {
    let shim = start(
        "
def play(id, body):
    respond(id, body)
    note(respond(id, b'2'))
    notes.append(error_type(fail(id, b'{}')))
",
    );
    assert_eq!(shim.invoke("1").text(), "1");
    let body = "{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}\n";
    assert_eq!(notes(&shim), json!([[400, body], [400, "InvalidRequestID"]]));
}

#[test]
fn wrong_ids_are_400_and_wrong_order_is_403() {
    let shim = start(
        "
note(respond('5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10', b'x'))
def play(id, body):
    notes.append(error_type(respond('5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10', b'x')))
    notes.append(error_type(respond('nonsense', b'x')))
    notes.append(error_type(respond('', b'x')))
    note(call('POST', 'runtime/init/error', b'{}'))
    respond(id, body)
",
    );
    assert_eq!(shim.invoke("1").text(), "1");
    let id = "{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}\n";
    let order = "{\"errorMessage\":\"State transition from Running to InitError failed for runtime. Error: State transition is not allowed\",\"errorType\":\"InvalidStateTransition\"}\n";
    let wrong = json!([400, "InvalidRequestID"]);
    assert_eq!(notes(&shim), json!([[400, id], wrong, wrong, wrong, [403, order]]));
}

/// One at a time, so that nobody can fill the memory with them.
#[test]
fn rt_36_a_second_init_error_is_refused() {
    let program = r#"
first = socket.create_connection(API.split(":"))
first.sendall(b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 24\r\nExpect: 100-continue\r\n\r\n")
# It is asked for its body, so it was let in.
assert b" 100 " in first.recv(4096)
touch("second", call("POST", "runtime/init/error", b'{"errorMessage":"second"}')[2].decode())
first.sendall(b'{"errorMessage":"first"}')
touch("first", first.recv(4096).decode())
sys.exit(1)
"#;
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    assert_eq!(shim.invoke("1").text(), r#"{"errorMessage":"first"}"#);
    let refusal = shim.wait_file("second");
    assert!(refusal.contains("from InitError to InitError"), "{refusal}");
    assert!(shim.wait_file("first").starts_with("HTTP/1.1 202 "), "{}", shim.wait_file("first"));
}

#[test]
fn rt_13_rt_39_other_paths_and_methods() {
    let shim = start(
        "
note(call('GET', 'ping'))
note(call('GET', 'runtime/nonsense'))
notes.append(call('POST', 'runtime/invocation/next')[0])
notes.append(call('GET', 'runtime/init/error')[0])
notes.append(call('GET', 'runtime/restore/next')[0])
notes.append(call('POST', 'runtime/restore/error')[0])
notes.append(call('POST', '../2020-01-01/extension/register', b'{}')[0])
def play(id, body): respond(id, body)
",
    );
    let expected = json!([[200, "pong"], [404, "404 page not found\n"], 405, 405, 404, 404, 404]);
    assert_eq!(notes(&shim), expected);
}

#[test]
fn rt_04_rt_06_header_names_are_in_title_case_and_nothing_is_compressed() {
    let shim = start(
        "
sock = socket.create_connection(API.split(':'))
def play(id, body): respond(id, body)
def raw_next():
    sock.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\nAccept-Encoding: gzip\\r\\n\\r\\n')
    text = b''
    while not text.endswith(b'[7]'): text += sock.recv(4096)
    return text.decode()
text = raw_next()
head = text.split('\\r\\n\\r\\n')[0]
names = sorted(line.split(':')[0] for line in head.split('\\r\\n')[1:])
id = next(line.split(': ')[1] for line in head.split('\\r\\n') if line.startswith('Lambda-Runtime-Aws-Request-Id'))
respond(id, json.dumps(names))
",
    );
    let names = json!([
        "Content-Length",
        "Content-Type",
        "Date",
        "Lambda-Runtime-Aws-Request-Id",
        "Lambda-Runtime-Deadline-Ms",
        "Lambda-Runtime-Invoked-Function-Arn"
    ]);
    assert_eq!(shim.invoke("[7]").json(), names);
}

/// RT-08, RT-10, RT-11: chunk extensions, upper-case sizes, long trailers, long headers, on one connection.
#[test]
fn rt_08_rt_10_rt_12_lm_17_lm_30_unusual_uploads_are_understood() {
    let shim = start(
        "
sock = socket.create_connection(API.split(':'))
def post(id, headers, body):
    sock.sendall(b'POST /2018-06-01/runtime/invocation/' + id.encode() + b'/response HTTP/1.1\\r\\nHost: x\\r\\n' + headers + b'\\r\\n' + body)
    text = b''
    while not text.endswith(b'}\\n'): text += sock.recv(4096)
    notes.append(int(text.split(b' ')[1]))
def play(id, body):
    if body == b'1':
        post(id, b'Transfer-Encoding: chunked\\r\\nTrailer: X-A\\r\\n', b'A;ext=1\\r\\n0123456789\\r\\n1\\r\\n!\\r\\n0\\r\\nX-A: 1\\r\\n\\r\\n')
    if body == b'2':
        post(id, b'Content-Type: text/html\\r\\nContent-Length: 2\\r\\nLambda-Runtime-Function-Xray-Error-Cause: ' + b'x' * 1100000 + b'\\r\\n', b'ok')
    if body == b'3':
        post(id, b'Transfer-Encoding: chunked\\r\\n', b'2\\r\\nok\\r\\n0\\r\\nX-Long: ' + b'x' * 100000 + b'\\r\\n\\r\\n')
",
    );
    assert_eq!(shim.invoke("1").text(), "0123456789!");
    assert_eq!(shim.invoke("2").text(), "ok");
    assert_eq!(shim.invoke("3").text(), "ok");
    assert_eq!(notes(&shim), json!([202, 202, 202]));
}

#[test]
fn rt_09_expect_100_continue_is_honoured() {
    let shim = start(
        "
def play(id, body):
    sock = socket.create_connection(API.split(':'))
    sock.sendall(b'POST /2018-06-01/runtime/invocation/' + id.encode() + b'/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\nExpect: 100-continue\\r\\n\\r\\n')
    notes.append(sock.recv(4096).decode())
    sock.sendall(b'ok')
    notes.append(sock.recv(4096).decode().split('\\r\\n')[0])
",
    );
    assert_eq!(shim.invoke("1").text(), "ok");
    assert_eq!(notes(&shim), json!(["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 202 Accepted"]));
}

#[test]
fn rt_31_truncated_uploads_are_errors() {
    let shim = start(
        "
def play(id, body):
    sock = socket.create_connection(API.split(':'))
    sock.sendall(b'POST /2018-06-01/runtime/invocation/' + id.encode() + b'/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 100\\r\\n\\r\\nhalf')
    if body == b'1':
        sock.shutdown(socket.SHUT_WR)
        notes.append(sock.recv(4096).decode().split('\\r\\n')[0])
    sock.close()
",
    );
    for event in ["1", "2"] {
        let answer = shim.invoke(event);
        assert_eq!((answer.status, answer.blamed()), (500, true));
        assert_eq!(answer.json()["errorType"], "Runtime.TruncatedResponse");
    }
}

#[test]
fn rt_27_an_unknown_response_mode_is_refused() {
    let shim = start(
        "
def play(id, body):
    note(respond(id, body, {'Lambda-Runtime-Function-Response-Mode': 'buffered'}))
",
    );
    let answer = shim.invoke("1");
    assert_eq!((answer.status, answer.blamed()), (500, true));
    assert_eq!(answer.json()["errorType"], "Runtime.InvalidResponseModeHeader");
    let body = "{\"errorMessage\":\"Invalid function response mode\",\"errorType\":\"InvalidFunctionResponseMode\"}\n";
    assert_eq!(notes(&shim), json!([[400, body]]));
}

/// ST-03, ST-13, ST-15: collected, and an error in the trailers is an error although the runtime gets its 202.
#[test]
fn streamed_results_are_collected() {
    let shim = start(
        "
import base64
def play(id, body):
    sock = socket.create_connection(API.split(':'))
    sock.sendall(b'POST /2018-06-01/runtime/invocation/' + id.encode() + b'/response HTTP/1.1\\r\\nHost: x\\r\\n'
        b'Lambda-Runtime-Function-Response-Mode: streaming\\r\\nTransfer-Encoding: chunked\\r\\n'
        b'Trailer: Lambda-Runtime-Function-Error-Type\\r\\nTrailer: Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n')
    for part in (b'5\\r\\nfirst\\r\\n', b'6\\r\\nsecond\\r\\n0\\r\\n'):
        sock.sendall(part)
    if body == b'2':
        text = base64.b64encode(b'{\"errorType\":\"Mid\"}')
        sock.sendall(b'Lambda-Runtime-Function-Error-Type: Runtime.StreamError\\r\\nLambda-Runtime-Function-Error-Body: ' + text + b'\\r\\n')
    sock.sendall(b'\\r\\n')
    notes.append(sock.recv(4096).decode().split('\\r\\n')[0])
",
    );
    assert_eq!(shim.invoke("1").text(), "firstsecond");
    let failed = shim.invoke("2");
    assert_eq!((failed.status, failed.text()), (500, r#"{"errorType":"Mid"}"#));
    assert_eq!(notes(&shim), json!(["HTTP/1.1 202 Accepted", "HTTP/1.1 202 Accepted"]));
}

/// RT-25: a `next` that is closed before an event came takes no event with it.
#[test]
fn rt_03_rt_25_lm_31_a_waiting_client_that_leaves_takes_no_event() {
    let program = "
sock = socket.create_connection(API.split(':'))
sock.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
wait('port')
sock.close()
touch('closed')
while True:
    id, body, headers = next_event()
    respond(id, body)
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    shim.wait_file("closed");
    for event in ["1", "2", "3"] {
        assert_eq!(shim.invoke(event).text(), event);
    }
}

/// RT-24: a delivery that broke in the middle is repeated.
#[test]
fn rt_24_a_broken_delivery_is_repeated() {
    let program = "
sock = socket.create_connection(API.split(':'))
sock.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
head = sock.recv(200)
sock.close()
id, body, headers = next_event()
respond(id, json.dumps([id.encode() in head, len(body)]))
while True: next_event()
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    let event = format!("[{}1]", "1,".repeat(500_000));
    assert_eq!(shim.invoke(&event).json(), json!([true, event.len()]));
}

/// RT-02: a connection that is quiet for longer than any usual idle time-out of a server stays usable. The shim has no
/// such time-out on this listener, so a short while is as good as an hour.
#[test]
fn rt_02_st_05_connections_may_be_opened_and_closed_at_will() {
    let program = "
while True:
    connection.close()
    id, body, headers = next_event()
    connection.close()
    respond(id, body, {'Connection': 'close'})
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    for event in ["1", "2", "3"] {
        assert_eq!(shim.invoke(event).text(), event);
    }
}

#[test]
fn rt_30_empty_results_are_results() {
    let shim = start("def play(id, body): respond(id, b'')\n");
    let answer = shim.invoke("1");
    assert_eq!((answer.status, answer.text(), answer.blamed()), (200, "", false));
}

#[test]
fn rt_26_rt_29_the_caller_is_answered_before_the_runtime_asks_again() {
    let program = "
while True:
    id, body, headers = next_event()
    respond(id, body)
    wait('go')
";
    let shim = Setup::python(program).env("INVOKER_COUNT", "1").start();
    assert_eq!(shim.invoke("1").text(), "1");
    assert!(!shim.stdout().contains("REPORT"), "the phase is not over: {}", shim.stdout());
    shim.touch("go");
    shim.wait_log("REPORT", 1);
}
