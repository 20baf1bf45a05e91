//! Plain mode: what goes in and what comes out when everything goes well (section 8.8, docs/http.md).

use crate::harness::{Setup, act};
use crate::http;

#[test]
fn ce_21_echo() {
    let shim = Setup::actor().start();
    let answer = shim.invoke(r#"{"a":1}"#);
    assert_eq!((answer.status, answer.text()), (200, r#"{"a": 1}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.id().len(), 36);
    assert!(!answer.blamed());
}

#[test]
fn rt_23_rt_32_ht_56_ht_57_events_arrive_unchanged_and_results_leave_unchanged() {
    let program = "
while True:
    id, body, headers = next_event()
    respond(id, headers['Content-Type'].encode() + b'|' + body)
";
    let shim = Setup::python(program).start();
    for (event, seen) in
        [("", "application/json|"), ("{ }", "application/json|{ }"), ("{", "application/octet-stream|{")]
    {
        let answer = shim.invoke(event);
        assert_eq!((answer.status, answer.text()), (200, seen));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
}

#[test]
fn ce_17_any_method_and_path_is_the_function() {
    let shim = Setup::actor().start();
    for (method, path) in [("GET", "/"), ("DELETE", "/some/where?x=1"), ("PATCH", "/2018-06-01/ping")] {
        assert_eq!(http::request(shim.port(), method, path, "").status, 200, "{method} {path}");
    }
}

#[test]
fn probes_are_not_the_function() {
    let shim = Setup::actor().start();
    let probe = http::request(shim.port(), "GET", "/", "K-Network-Probe: queue\r\n");
    assert_eq!((probe.status, probe.text()), (200, "queue"));
    let kubelet = http::request(shim.port(), "GET", "/", "User-Agent: kube-probe/1.35\r\n");
    assert_eq!((kubelet.status, kubelet.text()), (200, "ok\n"));
    assert_eq!(http::request(shim.port(), "GET", "/_/health", "").status, 200);
    assert!(!shim.stdout().contains("\nSTART"), "{}", shim.stdout());
}

#[test]
fn rt_16_rt_17_rt_19_rt_21_the_runtime_is_told_who_it_is_and_until_when() {
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let shim = Setup::actor()
        .env("K_SERVICE", "crow")
        .env("K_REVISION", "crow-00002")
        .env("AWS_REGION", "eu-west-1")
        .start();
    let mut stream = http::connect(shim.port());
    let event = act("headers", &[]);
    let head =
        http::head("POST", "/", &format!("X-Amzn-Trace-Id: {trace}\r\nContent-Length: {}\r\n", event.len()));
    std::io::Write::write_all(&mut stream, (head + &event).as_bytes()).unwrap();
    let answer = http::finish(stream);
    let headers = answer.json();
    assert_eq!(headers["Lambda-Runtime-Aws-Request-Id"], answer.id());
    assert_eq!(
        headers["Lambda-Runtime-Invoked-Function-Arn"],
        "arn:aws:lambda:eu-west-1:123456789012:function:crow"
    );
    assert!(headers["Lambda-Runtime-Trace-Id"].as_str().unwrap().starts_with(&format!("{trace};Parent=")));
    let deadline: i64 = headers["Lambda-Runtime-Deadline-Ms"].as_str().unwrap().parse().unwrap();
    let left = deadline - jiff::Timestamp::now().as_millisecond();
    assert!((1..=20_000).contains(&left), "{left}");
    for absent in ["Lambda-Runtime-Client-Context", "Lambda-Runtime-Cognito-Identity", "Content-Encoding"] {
        assert!(headers.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn rt_01_en_01_en_02_en_08_en_17_en_25_the_environment_of_the_process() {
    let shim = Setup::actor()
        .env("_HANDLER", "app.handler")
        .env("SECRET", "a=b=$HOME")
        .env("TM_QUEUE_LENGTH", "9")
        .env("_LAMBDA_TELEMETRY_LOG_FD", "62")
        .env("PATH", &format!("/first:{}", std::env::var("PATH").unwrap()))
        .start();
    let answer = shim.invoke(&act("env", &[]));
    let env = answer.json();
    for (name, value) in [
        ("_HANDLER", "app.handler"),
        ("SECRET", "a=b=$HOME"),
        ("BOOTSTRAP_INDEX", "0"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_FUNCTION_NAME", "function"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    for absent in ["PORT", "TM_QUEUE_LENGTH", "TM_PORT_FILE", "_LAMBDA_TELEMETRY_LOG_FD", "_X_AMZN_TRACE_ID"]
    {
        assert!(env.get(absent).is_none(), "{absent}");
    }
    let path = env["PATH"].as_str().unwrap();
    assert!(path.starts_with("/first:") && path.ends_with(":/opt/bin"), "{path}");
    let api = env["AWS_LAMBDA_RUNTIME_API"].as_str().unwrap();
    assert!(api.strip_prefix("127.0.0.1:").unwrap().parse::<u16>().is_ok(), "{api}");
}

#[test]
fn en_22_the_process_starts_in_the_task_root_with_nothing_to_read() {
    let program = "
while True:
    id, body, headers = next_event()
    respond(id, json.dumps([os.getcwd(), sys.stdin.read(), os.getpgid(0) == os.getpid()]))
";
    let setup = Setup::python(program);
    let root = setup.path().join("task").canonicalize().unwrap();
    let shim = setup.start();
    assert_eq!(shim.invoke("").json(), serde_json::json!([root.to_str().unwrap(), "", true]));
}

#[test]
fn en_20_an_explicit_command_beats_the_lookup_and_names_the_handler() {
    let program = "
while True:
    id, body, headers = next_event()
    respond(id, json.dumps([sys.argv[1:], os.environ['_HANDLER']]))
";
    let setup = Setup::python(program).bootstrap("#!/bin/sh\nexit 9\n");
    let text = format!("{}\n{program}", include_str!("prelude.py"));
    let script = setup.path().join("program.py").to_str().unwrap().to_owned();
    let python = crate::harness::python().to_str().unwrap();
    let shim = setup.file("program.py", &text, 0o644).arg(python).arg(&script).arg("app.handler").start();
    assert_eq!(shim.invoke("").json(), serde_json::json!([["app.handler"], "app.handler"]));
}

#[test]
fn en_24_lm_12_descriptors_are_limited_as_on_aws() {
    let program = "
import resource
while True:
    id, body, headers = next_event()
    respond(id, json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)))
";
    let limited = |soft: u32, hard: u32| {
        let own = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\"");
        let shim = Setup::python(program).through(&["sh", "-c", &own, "sh"], true).start();
        shim.invoke("1").json()
    };
    for (soft, hard, expected) in
        [(1500, 1500, [1024, 1024]), (256, 1500, [256, 1024]), (256, 512, [256, 512])]
    {
        assert_eq!(limited(soft, hard), serde_json::json!(expected), "{soft} {hard}");
    }
}
