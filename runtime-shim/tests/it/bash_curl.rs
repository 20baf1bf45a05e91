//! A function in bash, with curl as its client of the Runtime API, in the manner of the tutorial for custom runtimes: headers
//! are dumped into a file and searched, the result is a form (so curl says), larger ones ask before they are sent.

use tm_testkit::tools::has;

use crate::harness::{Setup, Shim};

/// `$_HANDLER` is `file.function`. The loop has no error handling, and each call a connection of its own.
const BOOTSTRAP: &str = r#"#!/bin/bash
set -euo pipefail
source "$LAMBDA_TASK_ROOT/${_HANDLER%.*}.sh"
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  headers=$(mktemp -p "$WORK")
  event=$(curl -sS -LD "$headers" "$api/invocation/next")
  id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
  if result=$("${_HANDLER#*.}" "$event"); then
    printf %s "$result" > "$WORK/result"
    curl -sS -o "$WORK/accepted" "$api/invocation/$id/response" -d "@$WORK/result"
  else
    curl -sS "$api/invocation/$id/error" -d '{"errorMessage":"it failed","errorType":"Bash"}'
  fi
  rm "$headers"
done
"#;

const FUNCTION: &str = r#"
handler() {
  echo "heard $1" >&2
  case "$1" in
    *fail*) return 1 ;;
    *crash*) kill -9 $$ ;;
    *large*) head -c 3000000 /dev/zero | tr '\0' x ;;
    *) echo "Echoing request: '$1'" ;;
  esac
}
"#;

fn start() -> Option<Shim> {
    let tools = ["bash", "curl"].into_iter().all(has);
    let setup = || {
        Setup::empty()
            .bootstrap(BOOTSTRAP)
            .file("task/function.sh", FUNCTION, 0o644)
            .env("_HANDLER", "function.handler")
            .env("INVOKER_COUNT", "1")
    };
    tools.then(|| setup().start())
}

#[test]
fn the_tutorials_loop() {
    let Some(shim) = start() else { return };
    for event in [r#"{"text":"Hello"}"#, "[1, 2]"] {
        let answer = shim.invoke(event);
        assert_eq!((answer.status, answer.text()), (200, &*format!("Echoing request: '{event}'")));
    }
    let accepted = std::fs::read_to_string(shim.work("accepted")).unwrap();
    assert_eq!(accepted, "{\"status\":\"OK\"}\n");
    let log = shim.wait_log("REPORT", 2);
    assert!(log.contains("heard [1, 2]\nEND"), "{log}");
}

/// Beyond 1 MB curl sends `Expect: 100-continue` and waits for the answer.
#[test]
fn rt_09_results_that_ask_first() {
    let Some(shim) = start() else { return };
    let answer = shim.invoke("\"large\"");
    assert_eq!((answer.status, answer.body.len()), (200, 3_000_000));
}

#[test]
fn failures() {
    let Some(shim) = start() else { return };
    let failed = shim.invoke("\"fail\"");
    assert_eq!((failed.status, failed.text()), (500, r#"{"errorMessage":"it failed","errorType":"Bash"}"#));
    let crashed = shim.invoke("\"crash\"");
    assert_eq!(crashed.json()["errorType"], "Runtime.ExitError");
    assert_eq!(shim.invoke("1").text(), "Echoing request: '1'");
}
