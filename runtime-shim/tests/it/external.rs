//! External extensions: files of a folder, started ahead of the runtime, told of invokes and of the end (section 5, LC-17).

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{ECHO, Setup, Shim, act, alive, on_sigterm, wait_for};

/// Notes every event, and ends with SHUTDOWN.
const LENS: &str = "
register(['INVOKE', 'SHUTDOWN'])
while True:
    what = event()
    note(' '.join([NAME, what['eventType'], what.get('shutdownReason', '')]).strip())
    if what['eventType'] == 'SHUTDOWN':
        sys.exit()
";

/// Waits for events, of which there are none.
const SILENT: &str = "
register()
touch(NAME + '-' + INDEX, str(os.getpid()))
event()
";

fn notes(shim: &Shim) -> Vec<String> {
    let text = std::fs::read_to_string(shim.work("notes")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn wait_notes(shim: &Shim, expected: &[&str]) {
    wait_for(&format!("{expected:?}"), || (notes(shim) == expected).then_some(()));
}

fn error_type(body: &Value) -> &str {
    body["errorType"].as_str().unwrap_or_default()
}

#[test]
fn lc_01_ex_01_they_register_before_the_runtime_starts() {
    let shim = Setup::actor()
        .extension("a", &format!("note('a starts')\n{SILENT}"))
        .extension("b", &format!("touch('b-up')\nwait('go')\nnote('b registers')\n{SILENT}"))
        .file("extensions/lib/c", "a folder is no extension", 0o644);
    let text = std::fs::read_to_string(shim.path().join("task/bootstrap")).unwrap();
    let shim = shim.bootstrap(&text.replace(
        "API = os",
        "open(os.environ['WORK'] + '/notes', 'a').write('runtime starts\\n')\nAPI = os",
    ));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shim = shim.env("PORT", &port.to_string()).spawn();
    shim.wait_file("b-up");
    wait_notes(&shim, &["a starts"]);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the init is not over");
    shim.touch("go");
    shim.wait_file("port");
    assert_eq!(notes(&shim), ["a starts", "b registers", "runtime starts"]);
    assert_eq!(crate::http::post(port, b"1").text(), "1");
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains("EXTENSION\tName: a\tState: Ready\tEvents: []\nEXTENSION\tName: b\t"), "{log}");
    assert!(log.find("EXTENSION") < log.find("START RequestId"), "{log}");
}

#[test]
fn en_16_the_environment_of_an_extension() {
    let program = format!("touch('env', json.dumps([os.getcwd(), dict(os.environ)]))\n{SILENT}");
    let shim = Setup::actor()
        .extension("a", &program)
        .env("SECRET", "a=$b")
        .env("_MINE", "1")
        .env("AWS_EXECUTION_ENV", "AWS_Lambda_Image")
        .env("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000")
        .env("_HANDLER", "main.handle")
        .env("AWS_SESSION_TOKEN", "t")
        .env("AWS_LAMBDA_FUNCTION_NAME", "stork")
        .start();
    let seen: Value = serde_json::from_str(&shim.wait_file("env")).unwrap();
    let variables = &seen[1];
    assert_eq!(seen[0], "/");
    for (name, value) in [
        ("SECRET", "a=$b"),
        ("AWS_SESSION_TOKEN", "t"),
        ("AWS_LAMBDA_FUNCTION_NAME", "stork"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_REGION", "us-east-1"),
        ("TZ", ":UTC"),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    let runtime = shim.invoke(&act("env", &[])).json();
    assert_eq!(variables["AWS_LAMBDA_RUNTIME_API"], runtime["AWS_LAMBDA_RUNTIME_API"]);
    for name in [
        "_MINE",
        "_HANDLER",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    ] {
        assert_eq!(variables[name], Value::Null, "{name} is kept back");
        assert!(runtime[name].is_string(), "{name} is the runtime's");
    }
}

#[test]
fn lc_17_events_come_in_order_and_the_end_is_announced() {
    let mut shim = Setup::actor().extension("lens", LENS).start();
    shim.invoke("1");
    wait_notes(&shim, &["lens INVOKE"]);
    shim.invoke("2");
    shim.stop();
    assert_eq!(notes(&shim), ["lens INVOKE", "lens INVOKE", "lens SHUTDOWN spindown"]);
}

#[test]
fn lc_17_lc_19_the_runtime_ends_before_extensions_are_told() {
    let runtime = on_sigterm("open(path('notes'), 'a').write('runtime terminated\\n')") + ECHO;
    // One acknowledges by asking again, one ends, and one did not ask to be told.
    let asking = "
register(['SHUTDOWN'])
note(NAME + ' ' + event()['shutdownReason'])
touch(NAME, str(os.getpid()))
event()
note('an event behind the last one')
";
    let untold = "
signal.signal(signal.SIGTERM, lambda *_: note('untold: TERM'))
register()
touch(NAME, str(os.getpid()))
event()
note('told without having asked')
";
    let mut shim = Setup::python(&runtime).extension("asking", asking).extension("untold", untold).start();
    shim.invoke("1");
    shim.stop();
    assert_eq!(notes(&shim), ["runtime terminated", "asking spindown"]);
    for name in ["asking", "untold"] {
        assert!(!alive(shim.wait_file(name).parse().unwrap()), "{name} outlived the shim");
    }
}

#[test]
fn lc_18_lm_19_an_extension_that_ignores_shutdown_is_killed() {
    let program = "
signal.signal(signal.SIGTERM, signal.SIG_IGN)
register(['SHUTDOWN'])
child = subprocess.Popen(['sleep', '1000'])
touch('pids', json.dumps([os.getpid(), child.pid]))
touch('told', event()['eventType'])
time.sleep(1000)
";
    let mut shim = Setup::actor().extension("deaf", program).start();
    let pids: Vec<i32> = serde_json::from_str(&shim.wait_file("pids")).unwrap();
    shim.stop();
    assert_eq!(shim.wait_file("told"), "SHUTDOWN");
    for pid in pids {
        assert!(!alive(pid), "{pid} outlived the shim");
    }
    assert!(shim.stderr().contains("did not acknowledge SHUTDOWN"), "{}", shim.stderr());
}

#[test]
fn lc_21_ex_06_a_timeout_and_a_crash_are_reasons() {
    let program = format!("note('start ' + str(os.getpid() > 0))\n{LENS}");
    let mut shim = Setup::actor().extension("lens", &program).env("FUNCTION_TTL", "6s").start();
    assert_eq!(shim.invoke(&act("exit", &[("code", "1")])).status, 500);
    assert_eq!(shim.invoke("1").text(), "1");
    assert_eq!(shim.invoke(&act("hang", &[])).status, 504);
    assert_eq!(shim.invoke("1").text(), "1");
    shim.stop();
    let ends: Vec<String> = notes(&shim).into_iter().filter(|line| !line.ends_with("INVOKE")).collect();
    let start = "start True";
    assert_eq!(
        ends,
        [start, "lens SHUTDOWN failure", start, "lens SHUTDOWN timeout", start, "lens SHUTDOWN spindown"]
    );
}

#[test]
fn lc_12_crashes_at_every_time() {
    let program = "
if os.path.exists(path('crash-init')):
    os._exit(17)
register(['INVOKE'])
while True:
    touch('pid', str(os.getpid()))
    if event() and os.path.exists(path('crash-invoke')):
        os._exit(18)
";
    let setup = Setup::actor().extension("probe.sh", program).file("crash-init", "", 0o644);
    let shim = setup.start();
    // The init has failed; the invoke tries again, and hears how it ended.
    let answer = shim.invoke("1");
    let message = format!("RequestId: {} Error: exit status 17", answer.id());
    assert_eq!(answer.json(), json!({"errorType": "Extension.Crash", "errorMessage": message}));
    assert!(answer.blamed());
    let log = shim.wait_log("REPORT", 1);
    let lines: Vec<&str> = log.lines().collect();
    let end = |line: &str, end: &str| assert!(line.ends_with(end), "{line} in {log}");
    assert_eq!(lines[1], "EXTENSION\tName: probe.sh\tState: Started\tEvents: []");
    end(lines[2], "\tPhase: init\tStatus: error\tError Type: Extension.Crash");
    end(lines[4], "\tPhase: invoke\tStatus: error\tError Type: Extension.Crash");
    end(lines.last().unwrap(), "\tStatus: error\tError Type: Extension.Crash");
    // While it is idle: the next invoke knows nothing of it.
    std::fs::remove_file(shim.work("crash-init")).unwrap();
    assert_eq!(shim.invoke("2").text(), "2");
    shim.wait_log("REPORT", 2);
    let pid: i32 = shim.wait_file("pid").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_for("its end to be seen", || shim.stderr().contains("while it was idle").then_some(()));
    assert_eq!(shim.invoke("3").text(), "3");
    // During an invoke; the phase before is over when it is reported.
    shim.wait_log("REPORT", 3);
    shim.touch("crash-invoke");
    let answer = shim.invoke(&act("hang", &[]));
    assert_eq!(error_type(&answer.json()), "Extension.Crash");
    std::fs::remove_file(shim.work("crash-invoke")).unwrap();
    assert_eq!(shim.invoke("4").text(), "4");
}

#[test]
fn ex_09_what_they_report_is_the_result() {
    let program = "
register(['INVOKE'])
if os.path.exists(path('init')):
    touch('status', str(give_up('init', 'Extension.NoKey')))
    sys.exit(1)
while True:
    event()
    if not os.path.exists(path('refused')):
        touch('refused', str(give_up('init', 'Extension.TooLate')))
    if os.path.exists(path('exit')):
        touch('status', str(give_up('exit', 'Extension.Bored')))
        sys.exit(1)
";
    let shim = Setup::actor().extension("picky", program).file("init", "", 0o644).start();
    let answer = shim.invoke("1");
    let message = format!("RequestId: {} Error: Extension.NoKey", answer.id());
    assert_eq!(answer.json(), json!({"errorType": "Extension.InitError", "errorMessage": message}));
    assert_eq!(shim.wait_file("status"), "202");
    let line = "EXTENSION\tName: picky\tState: InitError\tEvents: [INVOKE]\tError Type: Extension.NoKey\n";
    assert!(shim.wait_log("REPORT", 1).contains(line), "{}", shim.stdout());
    std::fs::remove_file(shim.work("init")).unwrap();
    assert_eq!(shim.invoke("2").text(), "2");
    assert_eq!(shim.wait_file("refused"), "403", "its init is over");
    shim.wait_log("REPORT", 2);
    shim.touch("exit");
    assert_eq!(error_type(&shim.invoke(&act("hang", &[])).json()), "Extension.ExitError");
    std::fs::remove_file(shim.work("exit")).unwrap();
    assert_eq!(shim.invoke("3").text(), "3");
}

#[test]
fn lc_02_one_that_never_registers_fails_the_init_only() {
    let mut shim = Setup::actor()
        .extension("mute", "time.sleep(1000)")
        .env("TM_INIT_TIMEOUT", "300ms")
        .env("FUNCTION_TTL", "5s")
        .start();
    let log = shim.wait_log("INIT_REPORT", 1);
    assert!(log.contains("EXTENSION\tName: mute\tState: Started\tEvents: []\n"), "{log}");
    assert!(log.contains("Phase: init\tStatus: timeout"), "{log}");
    let path = shim.work("extensions/mute");
    wait_for("its end", || (!runs(&path)).then_some(()));
    assert_eq!(error_type(&shim.invoke("1").json()), "Sandbox.Timedout");
    // The file is gone, and with it the trouble.
    std::fs::remove_file(path).unwrap();
    assert_eq!(shim.invoke("2").text(), "2");
    shim.stop();
}

/// Whether a process runs this program.
fn runs(program: &std::path::Path) -> bool {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    folders
        .filter_map(|folder| std::fs::read_to_string(folder.path().join("cmdline")).ok())
        .any(|line| line.split('\0').any(|word| std::path::Path::new(word) == program))
}

#[test]
fn ex_01_lm_13_what_cannot_be_started_is_a_launch_error() {
    let shim = Setup::actor().extension("a", SILENT).file("extensions/b", "#!/bin/sh\n", 0o644).start();
    let error = shim.invoke("1").json();
    assert_eq!(error_type(&error), "Extension.LaunchError");
    assert!(error["errorMessage"].as_str().unwrap().ends_with("/extensions/b: permission denied"), "{error}");
    let line = "EXTENSION\tName: b\tState: LaunchError\tEvents: []\tError Type: PermissionDenied\n";
    assert!(shim.wait_log("REPORT", 1).contains(line), "{}", shim.stdout());
    for name in 0..9 {
        std::fs::write(shim.work(&format!("extensions/{name}")), "").unwrap();
    }
    let error = shim.invoke("2").json();
    assert!(error["errorMessage"].as_str().unwrap().ends_with("Extension limit (10) reached"), "{error}");
}

#[test]
fn ex_01_names_are_those_of_files() {
    let program = "
notes = [register(['SHUTDOWN'], 'other'), register(['INVOKE']), register()]
touch('answers', json.dumps([[answer[0], json.loads(answer[2])['errorType'] if answer[0] != 200 else ''] for answer in notes]))
ID = notes[1][1]['Lambda-Extension-Identifier']
while True:
    event()
";
    let shim = Setup::actor().extension("own", program).start();
    assert_eq!(shim.invoke("1").text(), "1");
    let answers: Value = serde_json::from_str(&shim.wait_file("answers")).unwrap();
    let refused = |kind: &str| json!([403, format!("Extension.{kind}")]);
    assert_eq!(answers, json!([refused("InvalidEventType"), [200, ""], refused("InvalidExtensionState")]));
}

#[test]
fn output_is_in_the_log() {
    let program = "
register(['INVOKE'])
while True:
    event()
    say('the lens saw it')
";
    let shim = Setup::actor().extension("lens", program).start();
    shim.invoke(&act("say", &[("text", "the function said it")]));
    let log = shim.wait_log("REPORT", 1);
    let lines: Vec<&str> = log.lines().skip_while(|line| !line.starts_with("START")).collect();
    let (start, end) = (lines[0], lines[lines.len() - 2]);
    assert!(start.starts_with("START") && end.starts_with("END"), "{log}");
    for line in ["the lens saw it", "the function said it"] {
        assert!(lines.contains(&line), "{log}");
    }
}

/// What the Lambda Web Adapter does: an extension that asks for invokes on behalf of a web server, which is the runtime's
/// process and never calls the Runtime API.
const ADAPTER: &str = "
import threading
register()
threading.Thread(target=event, daemon=True).start()
wait('web-' + INDEX)
port = int(open(path('web-' + INDEX)).read())
while True:
    id, body, headers = next_event()
    web = http.client.HTTPConnection('127.0.0.1', port)
    web.request('POST', '/events', body, {'x-amzn-request-id': id})
    answer = web.getresponse()
    respond(id, json.dumps({'statusCode': answer.status, 'body': answer.read().decode()}))
";

const WEB_SERVER: &str = "
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        text = self.rfile.read(int(self.headers['Content-Length']))
        if text == b'\"crash\"':
            os._exit(3)
        self.send_response(201)
        self.end_headers()
        self.wfile.write(b'%s %s' % (self.path.encode(), text))
    def log_message(self, *words):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
touch('web-' + INDEX, str(server.server_port))
server.serve_forever()
";

#[test]
fn ex_19_ht_59_an_adapter_asks_on_behalf_of_a_web_server() {
    let mut shim = Setup::python(WEB_SERVER)
        .extension("lambda-adapter", ADAPTER)
        .env("TM_EVENT_FORMAT", "function-url")
        .start();
    for _ in 0..3 {
        let answer = shim.invoke("hello");
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(
            answer.text().starts_with("/events {") && answer.text().contains("\"body\":\"hello\""),
            "{answer:?}"
        );
    }
    shim.stop();
}

#[test]
fn each_worker_has_extensions_of_its_own() {
    for shared in [false, true] {
        let setup = Setup::actor().extension("own", SILENT).env("INVOKER_COUNT", "2");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let setup = if shared { setup.env("INTERNAL_API_PORT", &port.to_string()) } else { setup };
        let shim = setup.start();
        let wait = |name: &str| shim.invoke_later(&act("wait", &[("started", name), ("until", "go")]));
        let (one, two) = (wait("one"), wait("two"));
        shim.wait_file("one");
        shim.wait_file("two");
        let pids = ["own-0", "own-1"].map(|name| shim.wait_file(name).parse::<i32>().unwrap());
        // One worker loses its extension, and with it its environment; the other goes on.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
        wait_for("the end of one", || (one.is_finished() || two.is_finished()).then_some(()));
        shim.touch("go");
        let mut statuses = [one, two].map(|waiting| waiting.join().unwrap().status);
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 500], "shared: {shared}");
        assert!(alive(pids[1]));
    }
}

#[test]
fn there_is_one_worker_unless_more_are_asked_for() {
    let shim = Setup::actor().extension("own", SILENT).start();
    let wait = |name: &str| shim.invoke_later(&act("wait", &[("started", name), ("until", "go")]));
    let (one, two) = (wait("one"), wait("two"));
    wait_for("the first", || (shim.work("one").exists() || shim.work("two").exists()).then_some(()));
    shim.touch("go");
    for waiting in [one, two] {
        assert_eq!(waiting.join().unwrap().status, 200);
    }
    assert!(shim.work("own-0").exists() && !shim.work("own-1").exists());
}

#[test]
fn lm_19_runtimes_are_asked_to_end_where_there_are_extensions() {
    let watch = on_sigterm("touch('terminated')");
    let internal = "
def intern():
    own = http.client.HTTPConnection(API)
    own.request('POST', '/2020-01-01/extension/register', '{}', {'Lambda-Extension-Name': 'inner'})
    id = own.getresponse().headers['Lambda-Extension-Identifier']
    def park():
        own = http.client.HTTPConnection(API)
        own.request('GET', '/2020-01-01/extension/event/next', None, {'Lambda-Extension-Identifier': id})
        own.getresponse()
    threading.Thread(target=park, daemon=True).start()
intern()
";
    let runtime = |more: &str| format!("{watch}\n{more}\n{}", crate::harness::ACTOR);
    for (setup, asked) in [
        (Setup::python(&runtime("")), false),
        (Setup::python(&runtime(internal)), true),
        (Setup::python(&runtime("")).extension("lens", SILENT), true),
    ] {
        let shim = setup.env("FUNCTION_TTL", "500ms").env("INVOKER_COUNT", "1").start();
        assert_eq!(shim.invoke(&act("hang", &[])).status, 504);
        let pid: i32 = shim.wait_file("hanging").parse().unwrap();
        wait_for("the end of the runtime", || (!alive(pid)).then_some(()));
        assert_eq!(shim.work("terminated").exists(), asked);
    }
}
