//! Web frameworks behind the published adapters judge the HTTP formats: starlette on mangum (PyPI), express on serverless-http
//! (npm), aws-lambda-go's events and `lambdaurl`, `lambda_http` (crates.io).

use std::path::PathBuf;
use std::process::Command;
use std::{fs, os};

use serde_json::json;
use tm_testkit::tools::has;

use crate::harness::{Setup, Shim, python};
use crate::http::{self, Response};
use crate::{official_python, official_rust, tools};

/// The formats that an adapter may meet.
const FORMATS: [&str; 5] = ["apigateway-v1", "apigateway-v2", "function-url", "alb", "alb-multi-value"];

/// The small site that every framework below serves.
fn visit(shim: &Shim, format: &str) {
    let page = http::request(
        shim.port(),
        "GET",
        "/page/caf%C3%A9?name=a%20b&name=c",
        "Cookie: hen=1; egg=2\r\nX-Probe: p\r\n",
    );
    assert_eq!(page.status, 200, "{format}: {} {}", page.head, String::from_utf8_lossy(&page.body));
    assert!(page.header("content-type").unwrap().starts_with("application/json"), "{format}: {}", page.head);
    let seen = page.json();
    assert_eq!((&seen["method"], &seen["id"]), (&json!("GET"), &json!("café")), "{format}: {seen}");
    assert_eq!((&seen["probe"], &seen["egg"]), (&json!("p"), &json!("2")), "{format}: {seen}");
    // One value of each is all that a load balancer in its single mode passes on.
    let names = if format == "alb" { json!(["c"]) } else { json!(["a b", "c"]) };
    assert_eq!(seen["names"], names, "{format}: {seen}");

    let image = http::request(shim.port(), "GET", "/image", "");
    assert_eq!(
        (image.status, image.header("content-type")),
        (200, Some("image/png")),
        "{format}: {}",
        image.head
    );
    assert_eq!(image.body, b"\x89PNG\r\n\x1a\n\0\xff", "{format}");

    let cookies = http::request(shim.port(), "GET", "/cookies", "");
    let set: Vec<&str> = cookies.head.lines().filter(|line| line.starts_with("set-cookie: ")).collect();
    // A load balancer in its single mode passes one header of a name on; adapters may spell the name in several ways.
    assert!(set.len() == 2 || (format == "alb" && set.len() == 1), "{format}: {}", cookies.head);
    assert!(set.last().unwrap().contains("b=2") || format == "alb", "{format}: {set:?}");

    let body = b"\0\x01\xffbinary";
    let echo = http::send(shim.port(), "/echo", "Content-Type: application/octet-stream\r\n", body);
    assert_eq!((echo.status, &echo.body[..]), (201, &body[..]), "{format}: {}", echo.head);

    let gone: Response = http::request(shim.port(), "GET", "/nowhere", "");
    assert_eq!(gone.status, 404, "{format}: {}", gone.head);
}

#[test]
fn ht_02_starlette_on_mangum() {
    let app = r#"
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from mangum import Mangum

def page(request):
    return JSONResponse({"method": request.method, "id": request.path_params["id"], "probe": request.headers["x-probe"],
                         "egg": request.cookies.get("egg"), "names": request.query_params.getlist("name")})

def image(request):
    return Response(b"\x89PNG\r\n\x1a\n\0\xff", media_type="image/png")

def cookies(request):
    response = Response("ok")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response

async def echo(request):
    return Response(await request.body(), status_code=201, media_type="application/octet-stream")

app = Starlette(routes=[Route("/page/{id}", page), Route("/image", image), Route("/cookies", cookies),
                        Route("/echo", echo, methods=["POST"])])
handler = Mangum(app, lifespan="off")
"#;
    let packages = tools::cached("python-mangum-0.22.0-starlette-0.48.0", |folder| {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        tools::run(
            Command::new(python()).args(pip).arg(folder).args(["mangum==0.22.0", "starlette==0.48.0"]),
        );
    });
    for format in FORMATS {
        let shim = Setup::empty()
            .file("task/app.py", app, 0o644)
            .env("LAMBDA_RUNTIME_DIR", official_python::runtime().to_str().unwrap())
            .env("PYTHONPATH", packages.to_str().unwrap())
            .env("_HANDLER", "app.handler")
            .env("TM_EVENT_FORMAT", format)
            .start();
        visit(&shim, format);
    }
}

#[test]
fn ht_02_express_on_serverless_http() {
    if !(has("node") && has("npm")) {
        return;
    }
    let app = r"
const express = require('express');
const app = express();
app.get('/page/:id', (request, response) => {
  const names = [].concat(request.query.name).flatMap((name) => name.split(','));
  const cookies = Object.fromEntries((request.headers.cookie || '').split('; ').map((cookie) => cookie.split('=')));
  response.json({ method: request.method, id: request.params.id, probe: request.headers['x-probe'], egg: cookies.egg, names });
});
app.get('/image', (request, response) => response.type('png').send(Buffer.from('89504e470d0a1a0a00ff', 'hex')));
app.get('/cookies', (request, response) => response.cookie('a', '1').cookie('b', '2').send('ok'));
app.post('/echo', express.raw({ type: '*/*' }), (request, response) => {
  response.status(201).type('application/octet-stream').send(request.body);
});
exports.handler = require('serverless-http')(app, { binary: ['image/*', 'application/octet-stream'] });
";
    let packages = tools::cached("node-serverless-http-4.0.0-express-5.1.0", |folder| {
        let npm = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix"];
        tools::run(
            Command::new("npm").args(npm).arg(folder).args(["serverless-http@4.0.0", "express@5.1.0"]),
        );
    });
    let runtime = tools::repository("build-tasks/runtimes/node");
    for format in ["apigateway-v1", "apigateway-v2", "function-url", "alb-multi-value"] {
        let setup = Setup::empty()
            .file("task/app.js", app, 0o644)
            .env("LAMBDA_RUNTIME_DIR", runtime.to_str().unwrap())
            .env("_HANDLER", "app.handler")
            .env("TM_EVENT_FORMAT", format);
        os::unix::fs::symlink(packages.join("node_modules"), setup.path().join("task/node_modules")).unwrap();
        visit(&setup.start(), format);
    }
}

#[test]
fn ht_02_lambda_http() {
    for format in FORMATS {
        let shim = official_rust::setup("web").env("TM_EVENT_FORMAT", format).start();
        visit(&shim, format);
    }
}

const GO: &str = r#"package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdaurl"
)

// strict parses an event and says which of its members the published type does not know.
func strict(event json.RawMessage, into any) error {
	// AWS sends a few that the types lack.
	known := strings.Replace(string(event), `"deploymentId":"deployment",`, "", 1)
	known = strings.Replace(known, `"principalOrgId":null,`, "", 1)
	if os.Getenv("FORMAT") == "function-url" {
		known = strings.NewReplacer(`"routeKey":"$default",`, "", `"stage":"$default",`, "").Replace(known)
	}
	decoder := json.NewDecoder(strings.NewReader(known))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func typed(ctx context.Context, event json.RawMessage) (any, error) {
	switch os.Getenv("FORMAT") {
	case "apigateway-v1":
		var r events.APIGatewayProxyRequest
		err := strict(event, &r)
		body := fmt.Sprint(r.HTTPMethod, " ", r.Path, " ", r.RequestContext.Identity.SourceIP, " ", err)
		return events.APIGatewayProxyResponse{StatusCode: 201, MultiValueHeaders: map[string][]string{"X-A": {"1"}}, Body: body}, nil
	case "apigateway-v2":
		var r events.APIGatewayV2HTTPRequest
		err := strict(event, &r)
		body := fmt.Sprint(r.RequestContext.HTTP.Method, " ", r.RawPath, " ", r.RequestContext.HTTP.SourceIP, " ", err)
		return events.APIGatewayV2HTTPResponse{StatusCode: 201, Headers: map[string]string{"X-A": "1"}, Body: body}, nil
	case "function-url":
		var r events.LambdaFunctionURLRequest
		err := strict(event, &r)
		body := fmt.Sprint(r.RequestContext.HTTP.Method, " ", r.RawPath, " ", r.RequestContext.HTTP.SourceIP, " ", err)
		return events.LambdaFunctionURLResponse{StatusCode: 201, Headers: map[string]string{"X-A": "1"}, Body: body}, nil
	default:
		var r events.ALBTargetGroupRequest
		err := strict(event, &r)
		body := fmt.Sprint(r.HTTPMethod, " ", r.Path, " 127.0.0.1 ", err)
		return events.ALBTargetGroupResponse{StatusCode: 201, Headers: map[string]string{"X-A": "1"}, Body: body}, nil
	}
}

func page(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
	w.Header().Set("X-Path", r.URL.Path+"?"+r.URL.RawQuery)
	w.WriteHeader(203)
	for i := 0; i < 3; i++ {
		fmt.Fprint(w, r.Host, " ")
		time.Sleep(time.Millisecond)
	}
}

func main() {
	if os.Getenv("FORMAT") == "lambdaurl" {
		lambdaurl.Start(http.HandlerFunc(page))
	}
	lambda.Start(typed)
}
"#;

fn go_function() -> PathBuf {
    let folder = tools::cached("go-web-v1.55.1-5", |folder| {
        fs::write(folder.join("main.go"), GO).unwrap();
        let module = "module function\n\ngo 1.21\n\nrequire github.com/aws/aws-lambda-go v1.55.1\n";
        fs::write(folder.join("go.mod"), module).unwrap();
        tools::run(Command::new("go").args(["mod", "tidy"]).current_dir(folder));
        tools::run(Command::new("go").args(["build", "-o", "bootstrap", "."]).current_dir(folder));
    });
    folder.join("bootstrap")
}

fn go(format: &str, event_format: &str) -> Setup {
    let setup = Setup::empty().env("FORMAT", format).env("TM_EVENT_FORMAT", event_format);
    os::unix::fs::symlink(go_function(), setup.path().join("task/bootstrap")).unwrap();
    setup
}

/// No member is unknown to the types that AWS publishes.
#[test]
fn ht_02_go_events() {
    if !has("go") {
        return;
    }
    for format in ["apigateway-v1", "apigateway-v2", "function-url", "alb"] {
        let shim = go(format, format).start();
        let answer = http::send(shim.port(), "/a/b?c=d", "Cookie: e=f\r\nContent-Type: text/plain\r\n", b"g");
        assert_eq!((answer.status, answer.header("x-a")), (201, Some("1")), "{format}: {}", answer.head);
        assert_eq!(answer.text(), "POST /a/b 127.0.0.1 <nil>", "{format}");
    }
}

#[test]
fn ht_13_ht_27_go_lambdaurl_streams() {
    if !has("go") {
        return;
    }
    for mode in ["RESPONSE_STREAM", "BUFFERED"] {
        let shim = go("lambdaurl", "function-url").env("TM_INVOKE_MODE", mode).start();
        let answer = http::request(shim.port(), "GET", "/a%20b?c=d", "");
        assert_eq!(
            (answer.status, answer.header("x-path")),
            (203, Some("/a b?c=d")),
            "{mode}: {}",
            answer.head
        );
        assert_eq!(answer.header("set-cookie"), Some("a=1"), "{mode}");
        assert_eq!(answer.text().matches("test ").count(), 3, "{mode}: {}", answer.text());
    }
}
