//! The CloudEvents SDK for Python (`cloudevents` from PyPI) judges what is received and what is replied.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Setup, python};
use crate::tools;

const PROGRAM: &str = r#"
import http.client, json, sys
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

def send(message):
    connection = http.client.HTTPConnection(sys.argv[1])
    connection.request("POST", "/", message.body, message.headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    headers = {name.lower(): value for name, value in answer.getheaders()}
    reply = from_http_event(HTTPMessage(headers, answer.read()))
    context = json.loads(reply.get_data()["context"])
    return {"event": reply.get_data()["event"], "subject": context["subject"], "more": context.get("more"),
            "type": reply.get_type(), "source": reply.get_source(), "time": reply.get_time() is not None}

def event(data, kind="application/json"):
    return CloudEvent({"type": "net.pond.filled", "source": "/ponds", "subject": "Euro € 100% \"x\"", "more": "1",
                       "datacontenttype": kind}, data)

cases = [event({"level": [3, None]}), event("words", "text/plain"), event(b"\xff\xfe", "image/png")]
print(json.dumps([[send(to(case)) for to in (to_binary_event, to_structured_event)] for case in cases]))
"#;

const FUNCTION: &str = "
while True:
    id, body, headers = next_event()
    respond(id, json.dumps({'event': json.loads(body), 'context': headers['Lambda-Runtime-Cloudevents-Context']}))
";

#[test]
fn both_modes_say_the_same() {
    let packages = tools::cached("python-cloudevents-2.2.0", |folder| {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        tools::run(Command::new(python()).args(pip).arg(folder).arg("cloudevents==2.2.0"));
    });
    let shim = Setup::python(FUNCTION).env("TM_EVENT_FORMAT", "cloudevents").start();
    let output = Command::new(python())
        .env("PYTHONPATH", packages)
        .args(["-c", PROGRAM, &format!("127.0.0.1:{}", shim.port())])
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let answers: Value = serde_json::from_str(&out).unwrap();
    for (answers, data) in
        answers.as_array().unwrap().iter().zip([json!({"level": [3, null]}), json!("words"), json!("//4=")])
    {
        let [binary, structured] = [&answers[0], &answers[1]];
        assert_eq!(binary, structured);
        assert_eq!((&binary["event"], &binary["subject"]), (&data, &json!("Euro € 100% \"x\"")));
        assert_eq!((&binary["type"], &binary["more"]), (&json!("ce.klr.triggermesh.io"), &json!("1")));
        assert_eq!((&binary["source"], &binary["time"]), (&json!("knative-lambda-runtime"), &json!(true)));
    }
}
