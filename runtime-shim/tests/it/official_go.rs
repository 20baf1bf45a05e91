//! AWS's Go client (`github.com/aws/aws-lambda-go` from the module proxy) judges the shim. It sends every POST in chunks with
//! declared trailers, and reports a broken stream in them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tm_testkit::tools::has;

use crate::harness::{Setup, Shim};
use crate::official_boto3::boto3;
use crate::tools;

const VERSION: &str = "v1.55.1";

const PROGRAM: &str = r#"package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type request struct {
	Do    string `json:"do"`
	Mine  string `json:"mine"`
	Other string `json:"other"`
}

// meet shows that it is there, and waits until another invoke is, too.
func meet(r request) (any, error) {
	path := func(name string) string { return filepath.Join(os.Getenv("WORK"), name) }
	if err := os.WriteFile(path(r.Mine), nil, 0o644); err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(path(r.Other)); err == nil {
			return map[string]string{"met": r.Other}, nil
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// broken gives a few bytes and then fails.
type broken struct{ r io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = errors.New(strings.Repeat("long ", 5000))
	}
	return n, err
}

func handle(ctx context.Context, event json.RawMessage) (any, error) {
	var r request
	_ = json.Unmarshal(event, &r)
	if r.Mine != "" {
		return meet(r)
	}
	switch r.Do {
	case "error":
		return nil, errors.New("no")
	case "panic":
		panic("asked to")
	case "context":
		c, _ := lambdacontext.FromContext(ctx)
		_, hasDeadline := ctx.Deadline()
		return map[string]any{"id": c.AwsRequestID, "arn": c.InvokedFunctionArn, "deadline": hasDeadline}, nil
	case "stream":
		return strings.NewReader("streamed"), nil
	case "broken":
		return broken{strings.NewReader("part")}, nil
	}
	return event, nil
}

func main() {
	if os.Getenv("SIGTERM") != "" {
		lambda.StartWithOptions(handle, lambda.WithEnableSIGTERM(func() { fmt.Println("terminated with care") }))
	}
	lambda.Start(handle)
}
"#;

/// The compiled function.
pub(crate) fn function() -> PathBuf {
    let folder = tools::cached(&format!("go-function-{VERSION}-4"), |folder| {
        fs::write(folder.join("main.go"), PROGRAM).unwrap();
        let module =
            format!("module function\n\ngo 1.21\n\nrequire github.com/aws/aws-lambda-go {VERSION}\n");
        fs::write(folder.join("go.mod"), module).unwrap();
        tools::run(Command::new("go").args(["mod", "tidy"]).current_dir(folder));
        tools::run(Command::new("go").args(["build", "-o", "bootstrap", "."]).current_dir(folder));
    });
    folder.join("bootstrap")
}

fn start() -> Option<Shim> {
    if !has("go") {
        return None;
    }
    let setup = Setup::empty().env("AWS_LAMBDA_FUNCTION_NAME", "stork").env("INVOKER_COUNT", "1");
    std::os::unix::fs::symlink(function(), setup.path().join("task/bootstrap")).unwrap();
    Some(setup.start())
}

#[test]
fn rt_15_events_results_and_context() {
    let Some(shim) = start() else { return };
    for event in ["{\"a\":[1,null]}", "7", "null", "\"x\"", "[]"] {
        assert_eq!(shim.invoke(event).text(), event);
    }
    let answer = shim.invoke(r#"{"do":"context"}"#);
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:stork";
    assert_eq!(answer.json(), json!({"id": answer.id(), "arn": arn, "deadline": true}));
    let large = format!("\"{}\"", "x".repeat(3_000_000));
    assert_eq!(shim.invoke(&large).text(), large);
}

/// The client registers an extension of its own for this, which must not be in anybody's way.
#[test]
fn ex_02_ex_07_sigterm_is_an_internal_extensions_business() {
    if !has("go") {
        return;
    }
    let setup = Setup::empty().env("SIGTERM", "1").env("INVOKER_COUNT", "1");
    std::os::unix::fs::symlink(function(), setup.path().join("task/bootstrap")).unwrap();
    let mut shim = setup.start();
    assert_eq!((shim.invoke("1").text(), shim.invoke("2").text()), ("1", "2"));
    shim.stop();
    let log = shim.stdout();
    assert!(log.contains("terminated with care") && !log.contains("WARNING"), "{log}");
}

#[test]
fn errors_and_panics() {
    let Some(shim) = start() else { return };
    let error = shim.invoke(r#"{"do":"error"}"#);
    assert_eq!((error.status, error.blamed()), (500, true));
    assert_eq!(error.json(), json!({"errorMessage": "no", "errorType": "errorString"}));
    let panic = shim.invoke(r#"{"do":"panic"}"#).json();
    assert_eq!(panic["errorMessage"], "asked to");
    assert!(panic["stackTrace"].as_array().unwrap().len() > 1, "{panic}");
    assert_eq!(shim.invoke("1").text(), "1");
}

#[test]
fn rt_11_readers_stream_and_their_errors_come_in_trailers() {
    let Some(shim) = start() else { return };
    assert_eq!(shim.invoke(r#"{"do":"stream"}"#).text(), "streamed");
    let program = r#"show([streamed(Payload=json.dumps({"do": do})) for do in ("stream", "broken")])"#;
    let [stream, cut] = serde_json::from_value::<[serde_json::Value; 2]>(boto3(&shim, program)).unwrap();
    assert_eq!((&stream["chunks"], &stream["end"]), (&json!(["streamed"]), &json!({})));
    assert_eq!((&cut["chunks"], cut["end"]["ErrorCode"].is_string()), (&json!(["part"]), true), "{cut}");
    let broken = shim.invoke(r#"{"do":"broken"}"#);
    assert_eq!((broken.status, broken.blamed()), (500, true));
    assert!(broken.json()["errorMessage"].as_str().unwrap().starts_with("long long"), "{}", broken.text());
    assert_eq!(shim.invoke("1").text(), "1", "the same process goes on");
}
