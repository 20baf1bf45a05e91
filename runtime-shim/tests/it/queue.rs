//! Workers on demand, the bounded queue, and callers that leave.

use std::collections::BTreeSet;
use std::io::Write as _;

use crate::harness::{Setup, act, wait_for};
use crate::http;

#[test]
fn a_full_queue_is_refused_at_once() {
    let shim = Setup::actor().env("INVOKER_COUNT", "1").env("TM_QUEUE_LENGTH", "1").start();
    let running = shim.invoke_later(&act("wait", &[("started", "started"), ("until", "go")]));
    shim.wait_file("started");
    // Two more for one place: one waits, the other is refused while the first still runs.
    let two = [shim.invoke_later("1"), shim.invoke_later("1")];
    wait_for("a refusal", || two.iter().any(|thread| thread.is_finished()).then_some(()));
    shim.touch("go");
    assert_eq!(running.join().unwrap().status, 200);
    let mut answers: Vec<_> = two.into_iter().map(|thread| thread.join().unwrap()).collect();
    answers.sort_by_key(|answer| answer.status);
    assert_eq!([answers[0].status, answers[1].status], [200, 429]);
    assert_eq!(answers[1].header("retry-after"), Some("1"));
    assert_eq!(answers[1].header("x-amzn-errortype"), Some("TooManyRequestsException"));
    let text = r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#;
    assert_eq!(answers[1].text(), text);
}

#[test]
fn lc_05_what_expires_in_the_queue_is_answered_and_never_runs() {
    let mut shim = Setup::actor().env("INVOKER_COUNT", "1").env("FUNCTION_TTL", "400ms").start();
    let hanging = shim.invoke_later(&act("hang", &[]));
    shim.wait_file("hanging");
    let queued: Vec<_> =
        (0..3).map(|n| shim.invoke_later(&act("say", &[("text", &format!("ran {n}"))]))).collect();
    assert_eq!(hanging.join().unwrap().status, 504);
    let answers: Vec<_> = queued.into_iter().map(|thread| thread.join().unwrap()).collect();
    shim.stop();
    let log = shim.stdout();
    // They came right behind the hanging one and expire with it. One that came a little later may have been started after
    // all; then it ran, or the function is to blame.
    for (n, answer) in answers.iter().enumerate() {
        let ran = log.contains(&format!("ran {n}\n"));
        match (answer.status, answer.blamed()) {
            (200, false) => assert!(ran),
            (504, false) => assert!(!ran, "{log}"),
            other => assert_eq!(other, (504, true)),
        }
    }
}

#[test]
fn rt_44_workers_start_on_demand_and_run_in_parallel() {
    let shim = Setup::actor().env("INVOKER_COUNT", "3").start();
    assert_eq!(shim.invoke(&act("who", &[])).json()["index"], "0");
    let names = ["a", "b", "c"];
    let waiting = names.map(|name| shim.invoke_later(&act("wait", &[("started", name), ("until", "go")])));
    for name in names {
        shim.wait_file(name);
    }
    shim.touch("go");
    for thread in waiting {
        assert_eq!(thread.join().unwrap().status, 200);
    }
    let indexes: BTreeSet<String> =
        (0..9).map(|_| shim.invoke(&act("who", &[])).json()["index"].to_string()).collect();
    assert!(indexes.len() > 1, "idle workers take turns: {indexes:?}");
}

#[test]
fn lc_06_lm_24_no_more_workers_than_were_allowed() {
    let shim = Setup::actor().env("INVOKER_COUNT", "2").start();
    let threads: Vec<_> = (0..20).map(|_| shim.invoke_later(&act("who", &[]))).collect();
    let pids: BTreeSet<String> =
        threads.into_iter().map(|thread| thread.join().unwrap().json()["pid"].to_string()).collect();
    assert!((1..=2).contains(&pids.len()), "{pids:?}");
}

#[test]
fn a_caller_that_leaves_cancels_nothing() {
    let shim = Setup::actor().env("INVOKER_COUNT", "1").start();
    let event = act("wait", &[("started", "started"), ("until", "go")]);
    let mut stream = http::connect(shim.port());
    let head = http::head("POST", "/", &format!("Content-Length: {}\r\n", event.len()));
    stream.write_all((head + &event).as_bytes()).unwrap();
    shim.wait_file("started");
    drop(stream);
    shim.touch("go");
    let log = shim.wait_log("REPORT", 1);
    assert!(!log.contains("Status:"), "{log}");
    assert_eq!(shim.invoke("1").status, 200);
}
