//! Extensions inside the runtime's process (section 5), over the Extensions API.

use serde_json::json;

use crate::harness::Setup;

/// A client of the API with a connection of its own.
const CLIENT: &str = "
import threading, http.client as h
def extension(method, path, body=None, headers={}):
    own = h.HTTPConnection(API)
    own.request(method, path, body, headers)
    response = own.getresponse()
    text = response.read()
    return response.status, dict(response.headers), text.decode()
def register(name, body='{}', headers={}):
    return extension('POST', '/2020-01-01/extension/register', body, {'Lambda-Extension-Name': name, **headers})
def wait_event(id):
    return extension('GET', '/2020-01-01/extension/event/next', None, {'Lambda-Extension-Identifier': id})
def in_thread(function):
    threading.Thread(target=function, daemon=True).start()
";

fn python(program: &str) -> Setup {
    Setup::python(&format!("{CLIENT}\n{program}")).env("INVOKER_COUNT", "1")
}

#[test]
fn ex_02_ex_03_lm_13_registrations() {
    let program = "
notes = []
status, headers, body = register('one', '{\"events\":null}', {'Lambda-Extension-Accept-Feature': 'x, accountId'})
one = headers['Lambda-Extension-Identifier']
notes.append([status, json.loads(body), len(one), body.endswith('\\n')])
for name, body in (('one', '{}'), ('', '{}'), ('x', '{'), ('x', '{\"events\":[\"START\"]}'), ('x', '{\"events\":[\"SHUTDOWN\"]}')):
    status, headers, body = register(name, body)
    notes.append([status, json.loads(body)['errorType']])
ids = [register('n%d' % n)[1]['Lambda-Extension-Identifier'] for n in range(9)]
notes.append(json.loads(register('eleventh')[2])['errorType'])
for id in [one] + ids:
    in_thread(lambda id=id: wait_event(id))
id, body, headers = next_event()
notes.append(json.loads(register('late')[2])['errorType'])
respond(id, json.dumps(notes))
next_event()
";
    let shim =
        python(program).env("_HANDLER", "main.handle").env("AWS_LAMBDA_FUNCTION_NAME", "stork").start();
    let about = json!({
        "functionName": "stork", "functionVersion": "$LATEST", "handler": "main.handle", "accountId": "123456789012",
    });
    assert_eq!(
        shim.invoke("1").json(),
        json!([
            [200, about, 36, true],
            [403, "Extension.InvalidExtensionState"],
            [403, "Extension.InvalidExtensionName"],
            [403, "InvalidRequestFormat"],
            [403, "Extension.InvalidEventType"],
            [403, "Extension.InvalidEventType"],
            "Extension.TooManyExtensions",
            "Extension.RegistrationClosed",
        ])
    );
}

#[test]
fn ex_04_identifiers() {
    let program = "
def errors(method, path):
    answers = [extension(method, path, '{}', headers) for headers in (
        {}, {'Lambda-Extension-Identifier': ''}, {'Lambda-Extension-Identifier': 'x'},
        {'Lambda-Extension-Identifier': '0bb6f426-b2b0-4f84-b6f0-ae1670df231f'})]
    return [[status, json.loads(body)] for status, headers, body in answers]
notes = errors('GET', '/2020-01-01/extension/event/next')
id = register('one')[1]['Lambda-Extension-Identifier']
known = {'Lambda-Extension-Identifier': id}
notes.append(extension('POST', '/2020-01-01/extension/exit/error', '{}', known)[::2])
notes.append(extension('PUT', '/2020-08-15/logs', '{}')[0])
in_thread(lambda: wait_event(id))
id, body, headers = next_event()
respond(id, json.dumps(notes))
next_event()
";
    let shim = python(program).start();
    let error = |message: &str, kind: &str| json!([403, {"errorMessage": message, "errorType": format!("Extension.{kind}")}]);
    let missing = error("Missing Lambda-Extension-Identifier header", "MissingExtensionIdentifier");
    let unknown = "Unknown extension 0bb6f426-b2b0-4f84-b6f0-ae1670df231f";
    let header = "{\"errorMessage\":\"Lambda-Extension-Function-Error-Type not found\",\"errorType\":\"Extension.MissingHeader\"}\n";
    assert_eq!(
        shim.invoke("1").json(),
        json!([
            missing,
            missing,
            error("Invalid Lambda-Extension-Identifier", "InvalidExtensionIdentifier"),
            error(unknown, "UnknownExtensionIdentifier"),
            [403, header],
            403,
        ])
    );
}

#[test]
fn lc_02_lc_07_ex_08_the_init_waits_for_extensions_and_so_does_the_end_of_each_phase() {
    let program = "
id = register('lens', '{\"events\":[\"INVOKE\"]}')[1]['Lambda-Extension-Identifier']
seen = []
def serve():
    wait('go-init')
    while True:
        status, headers, event = wait_event(id)
        seen.append([status, 'Lambda-Extension-Event-Identifier' in headers, json.loads(event)])
        wait('go')
        say('the extension is done')
in_thread(serve)
touch('registered')
while True:
    invoke, body, headers = next_event()
    while len(seen) < json.loads(body):
        time.sleep(0.002)
    respond(invoke, json.dumps(seen[-1] + [os.path.exists(path('go'))]))
";
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shim =
        python(program).env("PORT", &port.to_string()).env("AWS_LAMBDA_FUNCTION_NAME", "stork").spawn();
    shim.wait_file("registered");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the init is not over");
    shim.touch("go-init");
    shim.wait_file("port");
    let send = move |event: &str| crate::http::post(port, event.as_bytes());
    let first = send("1");
    let event = &first.json()[2];
    assert_eq!((&first.json()[0], &first.json()[1]), (&json!(200), &json!(true)));
    assert_eq!((&event["eventType"], &event["requestId"]), (&json!("INVOKE"), &json!(first.id())));
    assert_eq!(event["invokedFunctionArn"], "arn:aws:lambda:us-east-1:123456789012:function:stork");
    assert_eq!(first.json()[3], false);
    // The caller has its answer, the phase goes on: the only worker is not free.
    let second = std::thread::spawn(move || send("2"));
    shim.touch("go");
    let second = second.join().unwrap().json();
    assert_eq!((&second[2]["eventType"], &second[3]), (&json!("INVOKE"), &json!(true)));
    let log = shim.wait_log("REPORT", 2);
    assert!(log.contains("INIT_START"), "{log}");
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text} in {log}"));
    assert!(at("the extension is done") < at("REPORT"), "the report comes at the end of the phase: {log}");
}

/// The answer is there long before, and stays what it was.
#[test]
fn lc_07_a_phase_that_an_extension_does_not_end_ends_at_the_deadline() {
    let program = "
id = register('slow', '{\"events\":[\"INVOKE\"]}')[1]['Lambda-Extension-Identifier']
def serve():
    while json.loads(wait_event(id)[2])['eventType'] == 'INVOKE':
        if not os.path.exists(path('go')):
            time.sleep(1000)
in_thread(serve)
while True:
    invoke, body, headers = next_event()
    respond(invoke, json.dumps(os.getpid()))
";
    let shim = python(program).env("FUNCTION_TTL", "5s").start();
    let first = shim.invoke("1");
    assert_eq!((first.status, first.blamed()), (200, false), "{}", first.text());
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains("Status: timeout"), "the runtime alone does not end the phase: {log}");
    shim.touch("go");
    assert_ne!(shim.invoke("2").json(), first.json(), "its process is gone");
    let log = shim.wait_log("REPORT", 2);
    assert_eq!(log.matches("Status: timeout").count(), 1, "{log}");
}

/// The result was refused, and the phase goes on: whoever asks again waits for the next event.
#[test]
fn rt_28_an_event_whose_result_was_refused_is_not_delivered_again() {
    let program = "
id = register('slow', '{\"events\":[\"INVOKE\"]}')[1]['Lambda-Extension-Identifier']
def serve():
    while True:
        wait_event(id)
        wait('go')
in_thread(serve)
def ask():
    sock = socket.create_connection(API.split(':'))
    sock.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    return sock
invoke, body, headers = next_event()
code = respond(invoke, b'x' * 6291557)[0]
first = ask()
call('GET', 'ping')
second = ask()
call('GET', 'ping')
touch('asked', str(code))
head = second.recv(65536).decode().lower()
id = head.split('lambda-runtime-aws-request-id: ')[1].split('\\r\\n')[0]
respond(id, json.dumps([invoke, id]))
next_event()
";
    let shim = python(program).start();
    let first = shim.invoke("1");
    assert_eq!(first.json()["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(shim.wait_file("asked"), "413");
    shim.touch("go");
    let second = shim.invoke("2");
    assert_eq!((second.status, second.json()), (200, json!([first.id(), second.id()])), "{}", second.text());
}

#[test]
fn ex_05_ex_07_an_extension_without_events_waits_for_ever_and_hinders_nobody() {
    let program = "
id = register('silent', '{\"events\":[]}')[1]['Lambda-Extension-Identifier']
in_thread(lambda: touch('event', wait_event(id)[2]))
while True:
    id, body, headers = next_event()
    respond(id, body)
";
    let mut shim = python(program).start();
    for _ in 0..3 {
        assert_eq!(shim.invoke("1").text(), "1");
    }
    shim.stop();
    assert!(!shim.work("event").exists());
}

#[test]
fn ex_09_one_that_gives_up_fails_the_invoke_and_its_process() {
    let program = "
id = register('inner', '{\"events\":[\"INVOKE\"]}')[1]['Lambda-Extension-Identifier']
def serve():
    wait_event(id)
    wait_event(id)
    headers = {'Lambda-Extension-Identifier': id, 'Lambda-Extension-Function-Error-Type': 'Extension.Bored'}
    extension('POST', '/2020-01-01/extension/exit/error', '{}', headers)
in_thread(serve)
while True:
    invoke, body, headers = next_event()
    if body != b'1':
        time.sleep(60)
    respond(invoke, json.dumps(os.getpid()))
";
    let shim = python(program).start();
    let first = shim.invoke("1").json();
    let answer = shim.invoke("2");
    let message = format!("RequestId: {} Error: Extension.Bored", answer.id());
    assert_eq!(answer.json(), json!({"errorType": "Extension.ExitError", "errorMessage": message}));
    assert_ne!(shim.invoke("1").json(), first, "another process");
}
