//! CloudEvents in and out, and sinks (section 9).

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Setup, Shim};
use crate::http::{self, Response};

/// Answers what `{"say": …}` says, else what it was told.
const PROGRAM: &str = "
while True:
    id, body, headers = next_event()
    event = json.loads(body) if body else None
    if isinstance(event, dict) and 'say' in event:
        respond(id, event['say'])
    elif isinstance(event, dict) and 'fail' in event:
        fail(id, b'{\"errorMessage\":\"no\",\"errorType\":\"Oops\"}')
    else:
        contexts = {name: headers.get('Lambda-Runtime-' + name) for name in ('Client-Context', 'Cloudevents-Context')}
        respond(id, json.dumps({'event': event, **contexts}))
";

const BINARY: &str = "ce-specversion: 1.0\r\nce-id: n-1\r\nce-source: /ponds\r\nce-type: net.pond.filled\r\n";
const STRUCTURED: &str = "Content-Type: application/cloudevents+json\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

fn setup() -> Setup {
    Setup::python(PROGRAM).env("RESPONSE_FORMAT", "CLOUDEVENTS")
}

fn send(shim: &Shim, headers: &str, body: &str) -> Response {
    http::send(shim.port(), "/any/path", headers, body.as_bytes())
}

fn said(shim: &Shim, result: &str) -> Response {
    send(shim, &format!("{BINARY}{JSON}"), &json!({ "say": result }).to_string())
}

/// What the function was told, out of the reply around it.
fn told(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{}{}", answer.head, answer.text());
    answer.json()["data"].take()
}

#[test]
fn ce_02_ce_09_binary_events() {
    let shim = setup().start();
    let told = told(&send(&shim, &format!("{BINARY}{JSON}"), r#"{"level":3}"#));
    let attributes = r#"{"id":"n-1","source":"/ponds","specversion":"1.0","type":"net.pond.filled"}"#;
    assert_eq!(told["event"], json!({"level": 3}));
    assert_eq!(told["Client-Context"], format!("{{\"custom\":{attributes}}}"));
    assert_eq!(told["Cloudevents-Context"], attributes);
}

#[test]
fn ce_08_structured_events() {
    let shim = setup().start();
    let event = r#"{"specversion":"1.0","id":"7","source":"s","type":"t","subject":"é","data":{"a":[1]}}"#;
    let told = told(&send(&shim, STRUCTURED, event));
    assert_eq!(told["event"], json!({"a": [1]}));
    assert_eq!(
        told["Cloudevents-Context"],
        r#"{"id":"7","source":"s","specversion":"1.0","subject":"\u00e9","type":"t"}"#
    );
}

#[test]
fn ce_10_data_that_is_not_json() {
    let shim = setup().start();
    let event = |kind: &str, body: &str| {
        told(&send(&shim, &format!("{BINARY}Content-Type: {kind}\r\n"), body))["event"].take()
    };
    assert_eq!(event("text/plain", "words"), "words");
    assert_eq!(event("application/json", ""), Value::Null);
    let bytes = http::send(shim.port(), "/", &format!("{BINARY}Content-Type: image/png\r\n"), b"\xff");
    assert_eq!(told(&bytes)["event"], "/w==");
}

#[test]
fn ce_09_ce_10_what_is_no_cloud_event_is_an_event_too() {
    let shim = setup().start();
    let json = told(&send(&shim, JSON, "[1]"));
    assert_eq!((&json["event"], &json["Cloudevents-Context"]), (&json!([1]), &json!("{}")));
    assert_eq!(json["Client-Context"], r#"{"custom":{}}"#);
    let form = told(&send(&shim, "Content-Type: application/x-www-form-urlencoded\r\n", "[1]"));
    assert_eq!((&form["event"], &form["Cloudevents-Context"]), (&json!([1]), &Value::Null));
    let get = http::request(shim.port(), "GET", "/", "");
    assert_eq!(told(&get)["event"], Value::Null);
}

#[test]
fn ce_07_ce_12_ce_14_results_are_the_data_of_replies() {
    let shim = setup().env("CE_OVERRIDES_TYPE", "own.type").env("CE_OVERRIDES_SOURCE", "own").start();
    let answer = said(&shim, r#"{"a": 1}"#);
    assert_eq!(answer.header("content-type"), Some("application/cloudevents+json"));
    let reply = answer.json();
    assert_eq!((&reply["type"], &reply["source"]), (&json!("own.type"), &json!("own")));
    assert_eq!((&reply["datacontenttype"], &reply["data"]), (&json!("application/json"), &json!({"a": 1})));
    assert_eq!(said(&shim, "\"words\"").json()["data"], "words");
    let empty = said(&shim, "");
    assert_eq!((empty.status, empty.text(), empty.header("content-type")), (200, "", None));
    let silent = setup().env("CE_OVERRIDES_TYPE", "").start();
    assert_eq!(said(&silent, "{}").text(), "");
}

#[test]
fn ce_15_ce_23_results_are_whole_events() {
    let shim = setup().env("CE_FUNCTION_RESPONSE_MODE", "event").start();
    let reply = said(&shim, r#"{"type":"own","data":{"a":1}}"#).json();
    assert_eq!(
        (&reply["type"], &reply["specversion"], &reply["data"]),
        (&json!("own"), &json!("1.0"), &json!({"a": 1}))
    );
    let wrong = said(&shim, "[1]");
    assert_eq!((wrong.status, wrong.blamed()), (500, true));
    assert_eq!(wrong.json()["errorType"], "Function.InvalidCloudEvent");
}

#[test]
fn ce_07_ce_16_ce_19_failures_are_no_events() {
    let shim = setup().start();
    let failed = send(&shim, &format!("{BINARY}{JSON}"), r#"{"fail":1}"#);
    assert_eq!(
        (failed.status, failed.blamed(), failed.header("content-type")),
        (500, true, Some("application/json"))
    );
    assert!(!failed.head.to_lowercase().contains("\nce-"), "{}", failed.head);
    for (headers, body, status) in [
        (STRUCTURED, "{", 400),
        (STRUCTURED, r#"{"specversion":"1.0"}"#, 400),
        ("Content-Type: application/cloudevents+avro\r\n", "x", 415),
    ] {
        let refused = send(&shim, headers, body);
        assert_eq!((refused.status, refused.json()["Type"].as_str()), (status, Some("User")), "{body}");
    }
    assert_eq!(shim.wait_log("REPORT", 1).matches("\nSTART").count(), 1, "nothing else has run");
}

#[test]
fn ce_05_batches_are_several_invokes() {
    let shim = setup().start();
    let batch = "Content-Type: application/cloudevents-batch+json\r\n";
    let event =
        |data: &str| format!(r#"{{"specversion":"1.0","id":"7","source":"s","type":"t","data":{data}}}"#);
    let accepted = send(&shim, batch, &format!("[{},{}]", event("1"), event("2")));
    assert_eq!((accepted.status, accepted.text()), (202, ""));
    assert_eq!(shim.wait_log("REPORT", 2).matches("\nSTART").count(), 2);
    assert_eq!(send(&shim, batch, "[]").status, 202);
    let failed = send(&shim, batch, &format!("[{},{}]", event("{\"fail\":1}"), event("2")));
    assert_eq!((failed.status, failed.json()["errorType"].as_str()), (500, Some("Oops")));
    assert_eq!(shim.wait_log("REPORT", 4).matches("\nSTART").count(), 4, "the others have run");
}

/// Takes one request and answers it with this status.
fn sink(status: u16) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ns/broker?x=1", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let size = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..size]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let complete = text.split_once("\r\n\r\n").is_some_and(|(_, body)| Some(body.len()) == length);
            if complete || size == 0 {
                write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").unwrap();
                return text;
            }
        }
    });
    (url, thread)
}

#[test]
fn ce_24_results_go_to_the_sink() {
    let (url, request) = sink(202);
    let shim = setup().env("K_SINK", &url).start();
    let answer = said(&shim, r#"{"a":1}"#);
    assert_eq!((answer.status, answer.text()), (200, ""));
    let request = request.join().unwrap();
    assert!(request.starts_with("POST /ns/broker?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/cloudevents+json\r\n"), "{request}");
    assert!(request.contains(r#""data":{"a":1}"#), "{request}");
    // Nobody listens any more, and an empty result or a failure is not sent.
    assert_eq!(said(&shim, "").status, 200);
    assert_eq!(send(&shim, JSON, r#"{"fail":1}"#).status, 500);
    let lost = said(&shim, "{}");
    assert_eq!((lost.status, lost.blamed()), (502, false));
}

#[test]
fn ce_05_ce_24_traces_reach_the_function_and_the_sink() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const XRAY: &str = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1";
    let traced = format!("traceparent: {PARENT}\r\ntracestate: vendor=7\r\n");
    for kind in ["cloudevents", "cloudevents-batch"] {
        let (url, request) = sink(202);
        let shim = Setup::actor().env("TM_EVENT_FORMAT", "cloudevents").env("K_SINK", &url).start();
        let headers = format!("{traced}Content-Type: application/{kind}+json\r\n");
        let event = r#"{"specversion":"1.0","id":"7","source":"s","type":"t","data":{"do":"headers"}}"#;
        let event = if kind == "cloudevents" { event.to_owned() } else { format!("[{event}]") };
        assert!([200, 202].contains(&send(&shim, &headers, &event).status), "{kind}");
        let request = request.join().unwrap();
        assert!(request.contains(&traced), "{kind}: {request}");
        assert!(request.contains(XRAY), "the function was told: {request}");
    }
}

#[test]
fn ce_24_plain_results_go_to_the_sink_too() {
    let (url, request) = sink(200);
    let shim = Setup::actor().env("K_SINK", &url).start();
    assert_eq!(shim.invoke("[1]").text(), "");
    let request = request.join().unwrap();
    assert!(
        request.contains("content-type: application/json\r\n") && request.ends_with("\r\n\r\n[1]"),
        "{request}"
    );
}

#[test]
fn ce_24_a_sink_that_refuses_is_an_error() {
    let (url, request) = sink(503);
    let shim = setup().env("K_SINK", &url).start();
    assert_eq!(said(&shim, "{}").status, 502);
    drop(request.join());
    assert!(shim.stderr().contains("it answered 503"), "{}", shim.stderr());
}

/// As the triggermesh controller sets it for a `Function`.
#[test]
fn ce_28_the_environment_of_the_triggermesh_controller() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let shim = setup()
        .env("_HANDLER", "source.main")
        .env("CE_FUNCTION_RESPONSE_MODE", "")
        .env("CE_OVERRIDES_TYPE", "io.triggermesh.function")
        .env("INTERNAL_API_PORT", &port)
        .env("FUNCTION_TTL", "10s")
        .env("REQUEST_SIZE_LIMIT", "5")
        .start();
    let reply = said(&shim, "{}").json();
    assert_eq!((&reply["type"], &reply["data"]), (&json!("io.triggermesh.function"), &json!({})));
}
