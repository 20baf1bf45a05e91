//! AWS's Lambda Web Adapter (`lambda_web_adapter` from crates.io) judges the shim: an external extension that registers, waits for a
//! web server, and then asks for invokes on its behalf.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::Setup;
use crate::http;
use crate::tools;

const VERSION: &str = "1.0.0-rc1";

/// Tells what it was asked.
const WEB_SERVER: &str = "
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0))).decode()
        context = json.loads(self.headers.get('x-amzn-lambda-context', '{}'))
        told = {'method': self.command, 'path': self.path, 'body': body, 'id': context.get('request_id'),
                'function': context.get('env_config', {}).get('function_name')}
        text = json.dumps(told).encode()
        self.send_response(203)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(text)))
        self.send_header('Set-Cookie', 'hen=1')
        self.end_headers()
        self.wfile.write(text)
    do_POST = do_GET
    def log_message(self, *words):
        pass
http.server.HTTPServer(('127.0.0.1', int(os.environ['AWS_LWA_PORT'])), Handler).serve_forever()
";

/// The adapter, built once.
fn adapter() -> PathBuf {
    let folder = tools::cached(&format!("lambda-web-adapter-{VERSION}"), |folder| {
        // Without optimisation, which would take most of the time.
        let words = ["install", "lambda_web_adapter", "--version", VERSION, "--locked", "--debug", "--quiet"];
        let mut install = Command::new(env!("CARGO"));
        install.args(words).arg("--root").arg(folder).current_dir(folder);
        tools::run(&mut install);
    });
    folder.join("bin/lambda-adapter")
}

fn setup(format: &str) -> Setup {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let setup = Setup::python(WEB_SERVER)
        .env("AWS_LWA_PORT", &port.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "stork")
        .env("TM_EVENT_FORMAT", format)
        // The adapter is not optimised, and waits for an interpreter.
        .env("TM_INIT_TIMEOUT", "60s");
    fs::create_dir(setup.path().join("extensions")).unwrap();
    symlink(adapter(), setup.path().join("extensions/lambda-adapter")).unwrap();
    setup
}

#[test]
fn ex_19_ht_59_web_servers_behind_the_adapter() {
    for format in ["function-url", "apigateway-v2", "apigateway-v1", "alb"] {
        let mut shim = setup(format).start();
        for _ in 0..2 {
            let answer = http::send(shim.port(), "/ponds/1?k=2", "Content-Type: text/plain\r\n", b"hello");
            assert_eq!(
                (answer.status, answer.header("set-cookie")),
                (203, Some("hen=1")),
                "{format}: {answer:?}"
            );
            let told = json!({
                "method": "POST", "path": "/ponds/1?k=2", "body": "hello", "id": answer.id(), "function": "stork",
            });
            assert_eq!(answer.json(), told, "{format}");
        }
        shim.stop();
    }
}

#[test]
fn ex_19_ht_59_streams_and_other_events() {
    let stream = setup("function-url")
        .env("AWS_LWA_INVOKE_MODE", "response_stream")
        .env("TM_INVOKE_MODE", "RESPONSE_STREAM");
    let shim = stream.start();
    let answer = http::send(shim.port(), "/", "", b"hello");
    assert_eq!((answer.status, answer.header("set-cookie")), (203, Some("hen=1")), "{answer:?}");
    assert!(answer.head.contains("transfer-encoding: chunked"), "{}", answer.head);
    assert!(answer.text().contains(r#""body": "hello""#), "{}", answer.text());
    // What is no HTTP event goes to a path of its own.
    let told: Value = setup("plain").start().invoke(r#"{"egg":1}"#).json();
    assert_eq!((&told["path"], &told["body"]), (&json!("/events"), &json!(r#"{"egg":1}"#)), "{told}");
}
