//! The Telemetry and Logs APIs (sections 5.5 to 5.7): extensions subscribe, and small listeners keep what they get.

use serde_json::{Value, json};

use crate::harness::{Setup, Shim, act, can_unshare, wait_for};

/// The tools of a subscriber.
const SUBSCRIBER: &str = include_str!("subscriber.py");

/// Asks for events until the end.
const EVENTS: &str = "
while event()['eventType'] != 'SHUTDOWN':
    pass
";

/// A function that does what each event says, beside a subscriber.
fn setup(program: &str) -> Setup {
    Setup::actor().extension("lens", &format!("{SUBSCRIBER}\n{program}"))
}

fn records(shim: &Shim, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(shim.work(file)).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kind(record: &Value) -> &str {
    record["type"].as_str().unwrap().trim_start_matches("platform.")
}

/// Waits until so many records of a kind are there; gives all.
fn wait_records(shim: &Shim, file: &str, wanted: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} times {wanted} in {file}"), || {
        let all = records(shim, file);
        (all.iter().filter(|record| kind(record) == wanted).count() >= count).then_some(all)
    })
}

fn kinds(records: &[Value]) -> Vec<&str> {
    records.iter().map(kind).collect()
}

/// The record of a kind, without what differs from run to run.
fn the<'a>(records: &'a [Value], wanted: &str) -> &'a Value {
    let record = records.iter().find(|record| kind(record) == wanted);
    &record.unwrap_or_else(|| panic!("no {wanted} in {records:?}"))["record"]
}

#[test]
fn ex_13_records_of_an_init_and_an_invoke() {
    let program = format!(
        "
say('the lens starts')
register(['INVOKE', 'SHUTDOWN'])
touch('answer', json.dumps(subscribe(listen())))
{EVENTS}"
    );
    let shim = setup(&program).env("AWS_LAMBDA_FUNCTION_NAME", "stork").start();
    let answer = shim.invoke(&act("say", &[("text", "a line")]));
    assert_eq!(shim.wait_file("answer"), "[200, \"\\\"OK\\\"\"]");
    let all = wait_records(&shim, "records", "report", 1);
    // A line of the extension's comes whenever it comes.
    let mut order = kinds(&all);
    order.retain(|kind| *kind != "extension" || all[0]["type"] == "extension");
    let without_extension: Vec<&str> =
        all.iter().filter(|record| record["type"] != "extension").map(kind).collect();
    assert_eq!(
        without_extension,
        [
            "initStart",
            "telemetrySubscription",
            "initRuntimeDone",
            "extension",
            "initReport",
            "start",
            "function",
            "runtimeDone",
            "report"
        ]
    );
    assert!(
        all.iter().any(|record| record["type"] == "extension" && record["record"] == "the lens starts\n")
    );
    for record in &all {
        let time = record["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{record}");
    }
    let start = the(&all, "initStart");
    assert_eq!((&start["initializationType"], &start["phase"]), (&json!("on-demand"), &json!("init")));
    assert_eq!((&start["functionName"], &start["instanceMaxMemory"]), (&json!("stork"), &json!(134_217_728)));
    let types = ["platform", "function", "extension"];
    assert_eq!(
        *the(&all, "telemetrySubscription"),
        json!({"name": "lens", "state": "Subscribed", "types": types})
    );
    let ready = json!({"name": "lens", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]});
    assert!(all.iter().any(|record| record["type"] == "platform.extension" && record["record"] == ready));
    assert_eq!(the(&all, "initReport")["status"], "success");
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:stork";
    assert_eq!(
        (&the(&all, "start")["requestId"], &the(&all, "start")["functionArn"]),
        (&json!(answer.id()), &json!(arn))
    );
    assert_eq!(*the(&all, "function"), "a line\n");
    let done = the(&all, "runtimeDone");
    let names: Vec<&str> =
        done["spans"].as_array().unwrap().iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["responseLatency", "responseDuration", "runtimeOverhead"]);
    assert_eq!(
        (&done["status"], &done["metrics"]["producedBytes"]),
        (&json!("success"), &json!(answer.body.len()))
    );
    let report = the(&all, "report");
    assert_eq!(
        (&report["status"], &report["spans"][0]["name"]),
        (&json!("success"), &json!("extensionOverhead"))
    );
    assert!(report["metrics"]["initDurationMs"].is_number(), "{report}");
    let head = &records(&shim, "heads")[0];
    let fields = &head[2];
    assert_eq!(
        (&head[0], &head[1], &fields["Content-Type"]),
        (&json!("POST"), &json!("/t"), &json!("application/json"))
    );
    assert_eq!(fields["User-Agent"], "awslambda-worker/1.0");
    assert!(fields["Sequence-Id"].is_string(), "{head}");
}

#[test]
fn the_runtime_is_done_before_the_phase_is() {
    // As agents do: it asks for the next event when it has seen that the function is done.
    let program = "
register(['INVOKE'])
subscribe(listen())
while True:
    id = event()['requestId']
    while not any(r['type'] == 'platform.runtimeDone' and r['record']['requestId'] == id for r in records()):
        time.sleep(0.002)
";
    let shim = setup(program).start();
    for number in 0..3 {
        assert_eq!(shim.invoke(&number.to_string()).status, 200);
    }
    shim.wait_log("REPORT", 3);
}

#[test]
fn ex_15_each_schema_has_its_shapes() {
    let program = format!(
        "
register()
for schema in ('2022-07-01', '2022-12-13', '2025-01-29'):
    register(name='inner-' + schema)
    subscribe(listen(schema), schema, ['platform'])
    in_thread = threading.Thread(target=event, daemon=True)
    own = ID
    in_thread.start()
{EVENTS}"
    );
    // The registrations under other names make them internal ones; the first identifier is the file's own.
    let program = program
        .replace("register()\nfor", "register()\nfirst = ID\nfor")
        .replace(EVENTS, &format!("ID = first\n{EVENTS}"));
    let shim = setup(&program).start();
    shim.invoke("1");
    let [first, second, third] =
        ["2022-07-01", "2022-12-13", "2025-01-29"].map(|schema| wait_records(&shim, schema, "report", 1));
    let status = |all: &[Value]| the(all, "initReport")["status"].clone();
    let arn = |all: &[Value]| the(all, "start")["functionArn"].is_string();
    assert_eq!(
        [status(&first), status(&second), status(&third)],
        [Value::Null, json!("success"), json!("success")]
    );
    assert_eq!([arn(&first), arn(&second), arn(&third)], [false, false, true]);
}

#[test]
fn ex_14_the_logs_api_and_a_crash() {
    let program = format!(
        "
register(['INVOKE', 'SHUTDOWN'])
register_again = ID
touch('answer', json.dumps(subscribe(listen(), '2020-08-15')))
{EVENTS}"
    );
    let shim = setup(&program).start();
    let first = shim.invoke(&act("say", &[("text", "one")])).id().to_owned();
    let crashed = shim.invoke(&act("exit", &[("code", "3")])).id().to_owned();
    // The end of the crash reaches the next generation, which has subscribed again.
    shim.invoke("1");
    let all = wait_records(&shim, "records", "report", 3);
    let ours: Vec<&Value> = all.iter().filter(|record| record["type"] != "extension").collect();
    let order: Vec<&str> = ours.iter().map(|record| kind(record)).collect();
    let invoke = ["start", "function", "end", "report"];
    assert_eq!(order[..6], [&["logsSubscription", "extension"], &invoke[..]].concat());
    let rest = &order[6..];
    let position = |wanted: &str| rest.iter().position(|kind| *kind == wanted).unwrap();
    assert!(position("start") < position("fault") && position("fault") < position("end"), "{rest:?}");
    let fault = the(&all, "fault").as_str().unwrap();
    assert_eq!(
        fault,
        format!("RequestId: {crashed} Error: Runtime exited with error: exit status 3\nRuntime.ExitError\n")
    );
    assert_eq!(*the(&all, "start"), json!({"requestId": first, "version": "$LATEST"}));
    assert_eq!(*the(&all, "end"), json!({"requestId": first}));
    assert_eq!(the(&all, "report").as_object().unwrap().keys().collect::<Vec<_>>(), ["requestId", "metrics"]);
    let again = ours.iter().filter(|record| kind(record) == "logsSubscription").nth(1).unwrap();
    assert_eq!(again["record"]["state"], "Already subscribed");
}

#[test]
fn ex_12_ex_14_the_last_records_of_a_failure_reach_the_next_generation() {
    // The second generation only registers: its subscription is kept by its name.
    let program = format!(
        "
register(['INVOKE', 'SHUTDOWN'])
if not os.path.exists(path('listener')):
    touch('listener', str(listen('first')))
    subscribe(int(open(path('listener')).read()))
else:
    PORTS['second'] = int(open(path('listener')).read())
    listen('second')
{EVENTS}"
    );
    let shim = setup(&program).env("FUNCTION_TTL", "6s").start();
    let id = shim.invoke(&act("hang", &[])).id().to_owned();
    assert_eq!(shim.invoke("1").text(), "1");
    let first = records(&shim, "first");
    let second = wait_records(&shim, "second", "report", 2);
    let done = the(&first, "runtimeDone");
    assert_eq!((&done["requestId"], &done["status"]), (&json!(id), &json!("timeout")));
    assert!(!kinds(&first).contains(&"report"), "{first:?}");
    let report = the(&second, "report");
    assert_eq!((&report["requestId"], &report["status"]), (&json!(id), &json!("timeout")));
    let inside: Vec<&Value> = second.iter().filter(|record| kind(record) == "initStart").collect();
    assert_eq!(inside[0]["record"]["phase"], "invoke", "the second init is inside the second invoke");
}

#[test]
fn ex_16_statuses_of_what_went_wrong() {
    let program = "
register(['INVOKE'])
subscribe(listen('records-%d' % os.getpid()))
touch('up-%d' % len([n for n in os.listdir(WORK) if n.startswith('up-')]), 'records-%d' % os.getpid())
while True:
    event()
    if os.path.exists(path('crash')):
        os.remove(path('crash'))
        os._exit(4)
";
    let shim = setup(program).start();
    let reported = shim.invoke(&act("error", &[])).id().to_owned();
    let crashed = shim.invoke(&act("exit", &[("code", "1")])).id().to_owned();
    shim.invoke("1");
    // The phase is over when it is reported; the extension would else crash in it.
    shim.wait_log("REPORT", 3);
    shim.touch("crash");
    let lost = shim.invoke(&act("hang", &[])).id().to_owned();
    shim.invoke("2");
    let all = wait_for("all reports", || {
        let files =
            (0..3).filter_map(|number| std::fs::read_to_string(shim.work(&format!("up-{number}"))).ok());
        let all: Vec<Value> = files.flat_map(|file| records(&shim, &file)).collect();
        (all.iter().filter(|record| kind(record) == "report").count() >= 5).then_some(all)
    });
    let status = |wanted: &str, id: &str| {
        let of = |record: &&Value| kind(record) == wanted && record["record"]["requestId"] == id;
        let record =
            &all.iter().find(of).unwrap_or_else(|| panic!("no {wanted} of {id} in {all:?}"))["record"];
        json!([record["status"], record["errorType"]])
    };
    let both = |id: &str| [status("runtimeDone", id), status("report", id)];
    assert_eq!(both(&reported), [json!(["success", null]), json!(["success", null])]);
    let exit = json!(["error", "Runtime.ExitError"]);
    assert_eq!(both(&crashed), [exit.clone(), exit]);
    assert_eq!(both(&lost), [json!(["failure", "Extension.Crash"]), json!(["error", "Extension.Crash"])]);
}

#[test]
fn ex_13_lines_over_tcp() {
    let program = format!(
        "
register(['INVOKE', 'SHUTDOWN'])
server = socket.create_server(('127.0.0.1', 0))
def serve():
    connection, _ = server.accept()
    for line in connection.makefile('r'):
        keep('records', line)
threading.Thread(target=serve, daemon=True).start()
subscribe(0, destination={{'protocol': 'TCP', 'port': server.getsockname()[1]}})
{EVENTS}"
    );
    let shim = setup(&program).start();
    shim.invoke(&act("say", &[("text", "a line")]));
    shim.invoke("1");
    let all = wait_records(&shim, "records", "report", 2);
    assert_eq!(*the(&all, "function"), "a line\n");
}

#[test]
fn ex_10_ex_12_subscriptions_that_are_refused() {
    let program = "
register(['INVOKE'])
port = listen()
answers = [
    subscribe(port, buffering={'timeoutMs': 24}),
    subscribe(port, destination={'protocol': 'HTTP', 'URI': 'http://example.com/'}),
    subscribe(port, types=['network']),
    subscribe(port, api='/2020-08-15/logs', schema='2022-07-01'),
    subscribe(port), subscribe(port), subscribe(port, schema='2021-03-18'),
]
own, ID = ID, '0bb6f426-b2b0-4f84-b6f0-ae1670df231f'
answers.append(subscribe(port))
ID = own
event()
answers.append(subscribe(port))
touch('answers', json.dumps([[status, json.loads(body)] for status, body in answers]))
event()
";
    let shim = setup(program).start();
    shim.invoke("1");
    let answers: Value = serde_json::from_str(&shim.wait_file("answers")).unwrap();
    let seen: Vec<(u64, &str)> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer[0].as_u64().unwrap(), answer[1]["errorType"].as_str().unwrap_or("OK")))
        .collect();
    assert_eq!(
        seen,
        [
            (400, "Telemetry.ValidationError"),
            (403, "Telemetry.AccessDenied"),
            (400, "Telemetry.DeserializationError"),
            (400, "Logs.ValidationError"),
            (200, "OK"),
            (200, "OK"),
            (400, "Logs.ValidationError"),
            (403, "Extension.UnknownExtensionIdentifier"),
            (403, "Telemetry.SubscriptionClosed"),
        ]
    );
    let all = wait_records(&shim, "records", "telemetrySubscription", 2);
    let states: Vec<&Value> =
        all.iter().filter(|r| kind(r) == "telemetrySubscription").map(|r| &r["record"]["state"]).collect();
    assert_eq!(states, ["Subscribed", "Already subscribed"]);
}

#[test]
fn ex_13_a_listener_that_is_not_there_harms_nobody() {
    // It comes when more was said than is kept for it.
    let program = format!(
        "
register(['INVOKE', 'SHUTDOWN'])
socket_ = socket.create_server(('127.0.0.1', 0))
PORTS['records'] = socket_.getsockname()[1]
socket_.close()
subscribe(PORTS['records'])
def late():
    wait('go')
    listen()
threading.Thread(target=late, daemon=True).start()
{EVENTS}"
    );
    let mut shim = setup(&program).start();
    let text = "x".repeat(100_000);
    for _ in 0..20 {
        assert_eq!(shim.invoke(&act("say", &[("text", &text)])).status, 200);
    }
    shim.touch("go");
    let all = wait_records(&shim, "records", "logsDropped", 1);
    let dropped = the(&all, "logsDropped");
    assert!(dropped["droppedRecords"].as_u64() > Some(10), "{dropped}");
    assert!(dropped["droppedBytes"].as_u64() > Some(1_000_000), "{dropped}");
    wait_for("the newest line", || {
        records(&shim, "records").iter().any(|record| kind(record) == "report").then_some(())
    });
    shim.stop();
}

#[test]
fn ex_13_a_listener_that_refuses_loses_a_batch_and_is_told() {
    let program = format!(
        "
register(['INVOKE', 'SHUTDOWN'])
subscribe(listen(status=lambda: 200 if os.path.exists(path('good')) else 400), types=['function', 'platform'])
{EVENTS}"
    );
    let shim = setup(&program).start();
    shim.invoke("1");
    wait_for("all tries", || (records(&shim, "heads").len() >= 5).then_some(()));
    shim.touch("good");
    shim.invoke("2");
    let all = wait_records(&shim, "records", "logsDropped", 1);
    assert!(the(&all, "logsDropped")["droppedRecords"].as_u64() > Some(1), "{all:?}");
}

#[test]
fn ex_13_everything_is_there_before_shutdown_is() {
    // Nothing would be sent for 30 s by itself.
    let program = "
register(['INVOKE', 'SHUTDOWN'])
subscribe(listen(), millis=30000)
while event()['eventType'] != 'SHUTDOWN':
    pass
touch('at-shutdown', json.dumps([r['type'] for r in records()]))
";
    let mut shim = setup(program).start();
    shim.invoke(&act("say", &[("text", "a line")]));
    shim.wait_log("REPORT", 1);
    shim.stop();
    let seen: Vec<String> = serde_json::from_str(&shim.wait_file("at-shutdown")).unwrap();
    for wanted in ["platform.initStart", "function", "platform.runtimeDone", "platform.report"] {
        assert!(seen.iter().any(|kind| kind == wanted), "no {wanted} in {seen:?}");
    }
}

#[test]
fn extensions_inside_the_runtime_subscribe_too() {
    let client = include_str!("extension.py");
    let program = "
register(['INVOKE'], name='inner')
subscribe(listen(), types=['platform'])
def serve():
    while True:
        event()
threading.Thread(target=serve, daemon=True).start()
while True:
    id, body, headers = next_event()
    respond(id, body)
";
    let shim = Setup::python(&format!("{client}\n{SUBSCRIBER}\n{program}")).env("INVOKER_COUNT", "1").start();
    shim.invoke("1");
    let all = wait_records(&shim, "records", "report", 1);
    assert!(kinds(&all).contains(&"initStart") && kinds(&all).contains(&"runtimeDone"), "{all:?}");
}

#[test]
fn json_lines_are_objects_where_the_log_is_in_json() {
    let program = format!(
        "
register(['INVOKE', 'SHUTDOWN'])
subscribe(listen(), types=['function'])
{EVENTS}"
    );
    let shim = setup(&program).env("AWS_LAMBDA_LOG_FORMAT", "JSON").start();
    shim.invoke(r#"{"do":"say","text":"{\"level\":\"INFO\"}"}"#);
    shim.invoke(&act("say", &[("text", "plain")]));
    let all = wait_records(&shim, "records", "function", 2);
    let lines: Vec<&Value> = all.iter().map(|record| &record["record"]).collect();
    assert_eq!(lines, [&json!({"level": "INFO"}), &json!("plain\n")]);
    let log = shim.stdout();
    assert!(log.contains("\"type\":\"platform.telemetrySubscription\""), "{log}");
    assert!(log.contains("\"type\":\"platform.extension\""), "{log}");
}

/// As in a container, whose hosts are the shim's to complete.
#[test]
fn ex_11_the_sandbox_has_its_name() {
    if !can_unshare() {
        return;
    }
    let program = format!(
        "
register(['INVOKE', 'SHUTDOWN'])
touch('named', socket.gethostbyname('sandbox.localdomain'))
subscribe(listen())
{EVENTS}"
    );
    let setup = setup(&program).file("hosts", "127.0.0.1 localhost\n", 0o644);
    let mut shim = setup.in_container("mount --bind \"$WORK/hosts\" /etc/hosts && exec \"$@\"").start();
    assert_eq!(shim.invoke("1").text(), "1");
    assert_eq!(shim.wait_file("named"), "127.0.0.1");
    wait_records(&shim, "records", "report", 1);
    shim.stop_container();
    assert_eq!(std::fs::read_to_string(shim.work("hosts")).unwrap().lines().count(), 2);
}
