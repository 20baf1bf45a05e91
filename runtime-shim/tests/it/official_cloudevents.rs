//! The CloudEvents SDKs for Python (`cloudevents` from PyPI) and Go (`github.com/cloudevents/sdk-go/v2` from the module proxy) judge
//! what is received and what is replied.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tm_testkit::tools::has;

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
fn ce_01_ce_03_both_modes_say_the_same() {
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

const GO_VERSION: &str = "v2.16.2";

const GO_PROGRAM: &str = r#"package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func main() {
	client, err := cloudevents.NewClientHTTP()
	if err != nil {
		log.Fatal(err)
	}
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetType("net.pond.filled")
	event.SetSource("/ponds")
	event.SetSubject("Euro € 100% \"x\"")
	event.SetExtension("more", "1")
	if err := event.SetData(cloudevents.ApplicationJSON, map[string]any{"level": []any{3, nil}}); err != nil {
		log.Fatal(err)
	}
	all := []any{}
	for _, ctx := range []context.Context{
		cloudevents.WithEncodingBinary(context.Background()),
		cloudevents.WithEncodingStructured(context.Background()),
	} {
		reply, result := client.Request(cloudevents.ContextWithTarget(ctx, os.Args[1]), event)
		if !cloudevents.IsACK(result) {
			log.Fatal(result)
		}
		if err := reply.Validate(); err != nil {
			log.Fatal(err)
		}
		var data any
		if err := reply.DataAs(&data); err != nil {
			log.Fatal(err)
		}
		all = append(all, []any{reply.Type(), reply.Source(), data})
	}
	text, _ := json.Marshal(all)
	fmt.Println(string(text))
}
"#;

#[test]
fn so_they_do_for_go() {
    if !has("go") {
        return;
    }
    let folder = tools::cached(&format!("go-cloudevents-{GO_VERSION}-2"), |folder| {
        fs::write(folder.join("main.go"), GO_PROGRAM).unwrap();
        let module =
            format!("module judge\n\ngo 1.24\n\nrequire github.com/cloudevents/sdk-go/v2 {GO_VERSION}\n");
        fs::write(folder.join("go.mod"), module).unwrap();
        tools::run(Command::new("go").args(["mod", "tidy"]).current_dir(folder));
        tools::run(Command::new("go").args(["build", "-o", "judge", "."]).current_dir(folder));
    });
    let shim = Setup::python(FUNCTION).env("TM_EVENT_FORMAT", "cloudevents").start();
    let said =
        tools::output(Command::new(folder.join("judge")).arg(format!("http://127.0.0.1:{}", shim.port())));
    let answers: Value = serde_json::from_str(&said).unwrap();
    for answer in answers.as_array().unwrap() {
        let context: Value = serde_json::from_str(answer[2]["context"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&answer[0], &answer[1]),
            (&json!("ce.klr.triggermesh.io"), &json!("knative-lambda-runtime"))
        );
        assert_eq!(answer[2]["event"], json!({"level": [3, null]}));
        assert_eq!((&context["subject"], &context["more"]), (&json!("Euro € 100% \"x\""), &json!("1")));
    }
    assert_eq!(answers.as_array().unwrap().len(), 2);
}
