//! Response streaming (section 2): first bytes before the last are written, back-pressure, failures in the middle.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Setup, Shim, wait_for};
use crate::http::{self, Response};

const STREAM: &str = "/2021-11-15/functions/function/response-streaming-invocations";
const INVOKE: &str = "/2015-03-31/functions/function/invocations";

fn pieces(pieces: &Value) -> String {
    json!({"do": "stream", "type": "text/css", "pieces": pieces}).to_string()
}

/// A function whose HTTP callers get streams.
fn streaming() -> Setup {
    Setup::actor().env("TM_INVOKE_MODE", "RESPONSE_STREAM")
}

/// A caller that reads an answer piece by piece.
struct Reader {
    stream: BufReader<TcpStream>,
    head: String,
}

// === impl Reader ===

impl Reader {
    /// Sends an event and reads the head of the answer.
    fn open(shim: &Shim, path: &str, event: &str) -> Self {
        let mut stream = http::connect(shim.port());
        let headers = format!("Content-Length: {}\r\n", event.len());
        stream.write_all((http::head("POST", path, &headers) + event).as_bytes()).unwrap();
        let mut reader = Self { stream: BufReader::new(stream), head: String::new() };
        while !reader.head.ends_with("\r\n\r\n") {
            assert!(reader.stream.read_line(&mut reader.head).unwrap() > 0, "{}", reader.head);
        }
        assert!(reader.head.contains("transfer-encoding: chunked"), "{}", reader.head);
        reader
    }

    /// The next chunk; empty for the last one, `None` when the connection ends without it.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let mut data = vec![0; usize::from_str_radix(line.trim(), 16).unwrap() + 2];
        self.stream.read_exact(&mut data).ok()?;
        data.truncate(data.len() - 2);
        Some(data)
    }

    /// All of the rest, and whether it has a proper end.
    fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        loop {
            match self.chunk() {
                Some(data) if data.is_empty() => return (all, true),
                Some(data) => all.extend(data),
                None => return (all, false),
            }
        }
    }
}

/// The frames of an event stream: the event's type and its payload.
fn frames(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (length, headers) = (word(0), word(4));
        let head = String::from_utf8_lossy(&bytes[12..12 + headers]).into_owned();
        let kind = if head.contains("PayloadChunk") { "PayloadChunk" } else { "InvokeComplete" };
        let payload = String::from_utf8_lossy(&bytes[12 + headers..length - 4]).into_owned();
        frames.push((kind.to_owned(), payload));
        bytes = &bytes[length..];
    }
    frames
}

fn events(shim: &Shim, event: &str) -> Vec<(String, String)> {
    let (bytes, ended) = Reader::open(shim, STREAM, event).rest();
    assert!(ended, "an event stream always has its end");
    frames(&bytes)
}

fn invoke(shim: &Shim, event: &str) -> Response {
    http::send(shim.port(), INVOKE, "", event.as_bytes())
}

fn frame(kind: &str, payload: &str) -> (String, String) {
    (kind.to_owned(), payload.to_owned())
}

#[test]
fn st_01_st_02_st_03_in_26_the_caller_decides_how_it_gets_a_stream() {
    let shim = Setup::actor().start();
    let event = pieces(&json!(["one ", "two"]));
    assert_eq!(
        events(&shim, &event),
        [frame("PayloadChunk", "one "), frame("PayloadChunk", "two"), frame("InvokeComplete", "{}")]
    );
    let whole = invoke(&shim, &event);
    assert_eq!((whole.status, whole.text()), (200, "one two"));
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    assert_eq!(
        shim.invoke(&event).text(),
        "one two",
        "HTTP callers get it whole unless the deployment says otherwise"
    );
    assert_eq!(events(&shim, "[1]"), [frame("PayloadChunk", "[1]"), frame("InvokeComplete", "{}")]);
    assert_eq!(events(&shim, r#"{"do":"empty"}"#), [frame("InvokeComplete", "{}")]);
}

#[test]
fn in_24_in_25_heads_of_streams() {
    let shim = Setup::actor().env("AWS_LAMBDA_FUNCTION_VERSION", "7").start();
    let mut reader = Reader::open(&shim, STREAM, &pieces(&json!(["a"])));
    for line in [
        "content-type: application/vnd.amazon.eventstream",
        "x-amzn-remapped-content-type: text/css",
        "x-amz-executed-version: 7",
        "x-amzn-requestid: ",
        "x-amzn-trace-id: Root=1-",
    ] {
        assert!(reader.head.contains(line), "{line} is missing in {}", reader.head);
    }
    reader.rest();
    let types = ["X-Amz-Invocation-Type: DryRun\r\n", "X-Amz-Invocation-Type: Event\r\n"];
    for kind in types {
        let answer = http::send(shim.port(), STREAM, kind, b"1");
        assert_eq!(answer.status, 200, "it runs whatever that header says: {}", answer.head);
    }
    assert_eq!(
        http::send(shim.port(), STREAM, "", b"{").header("x-amzn-errortype"),
        Some("InvalidRequestContentException")
    );
}

#[test]
fn st_04_first_bytes_arrive_before_the_last_are_written() {
    let shim = streaming().start();
    let event = pieces(&json!(["a", {"wait": "go"}, "b"]));
    for path in [STREAM, "/"] {
        let _ = std::fs::remove_file(shim.work("go"));
        let mut reader = Reader::open(&shim, path, &event);
        let first = reader.chunk().unwrap();
        assert!(first.windows(1).any(|window| window == b"a"), "{first:?}");
        shim.touch("go");
        let (rest, ended) = reader.rest();
        assert!(ended && rest.contains(&b'b'), "{rest:?}");
    }
    assert_eq!(shim.wait_file("answered"), r#"[202, "{\"status\":\"OK\"}\n"]"#);
}

/// A mode that does not exist is refused before the caller has got anything.
#[test]
fn rt_27_an_unknown_response_mode_for_callers_who_take_streams() {
    let shim = streaming().start();
    let event = json!({"do": "stream", "mode": "buffered", "type": "text/css", "pieces": ["a"]}).to_string();
    let answer = shim.invoke(&event);
    assert_eq!((answer.status, answer.blamed()), (500, true), "{}", answer.text());
    assert_eq!(answer.json()["errorType"], "Runtime.InvalidResponseModeHeader");
    assert!(shim.wait_file("answered").starts_with("[400, "));
    let frames = events(&shim, &event);
    assert_eq!(frames.len(), 1, "no chunk: {frames:?}");
    assert!(frames[0].1.contains("Runtime.InvalidResponseModeHeader"), "{frames:?}");
    assert_eq!(shim.invoke("1").text(), "1");
}

#[test]
fn st_06_st_13_the_runtime_hears_202_after_its_last_chunk_and_not_before() {
    let shim = streaming().start();
    let event = pieces(&json!(["a", {"wait": "go"}, "b", {"trailers": "Own.Error"}]));
    let mut reader = Reader::open(&shim, STREAM, &event);
    reader.chunk().unwrap();
    assert!(!shim.work("answered").exists());
    shim.touch("go");
    let (rest, _) = reader.rest();
    let end = frames(&rest).pop().unwrap().1;
    assert_eq!(end, r#"{"ErrorCode":"Own.Error","ErrorDetails":"{\"errorMessage\": \"late\"}"}"#);
    assert!(shim.wait_file("answered").starts_with("[202, "), "an error in trailers is accepted too");
}

#[test]
fn st_11_st_12_ht_28_raw_streams_keep_their_type_and_have_no_length() {
    let shim = streaming().start();
    let mut reader = Reader::open(&shim, "/", &pieces(&json!(["body {", "}"])));
    assert!(
        reader.head.starts_with("HTTP/1.1 200 ") && reader.head.contains("content-type: text/css"),
        "{}",
        reader.head
    );
    assert!(!reader.head.to_lowercase().contains("content-length"), "{}", reader.head);
    assert_eq!(reader.rest(), (b"body {}".to_vec(), true));
    // A result that is no stream is whole as ever.
    assert_eq!(shim.invoke("[1]").header("content-length"), Some("3"));
}

#[test]
fn chunks_without_the_mode_header_stream_unless_they_are_json() {
    let shim = streaming().start();
    let event =
        |kind: &str| json!({"do": "stream", "mode": "", "type": kind, "pieces": ["[", "1]"]}).to_string();
    assert_eq!(Reader::open(&shim, "/", &event("application/octet-stream")).rest(), (b"[1]".to_vec(), true));
    assert_eq!(shim.invoke(&event("application/json")).header("content-length"), Some("3"));
}

#[test]
fn st_07_a_slow_caller_slows_the_runtime_down_and_memory_stays() {
    let shim = streaming().env("FUNCTION_TTL", "60s").start();
    let mut reader = Reader::open(&shim, "/", &pieces(&json!(vec![json!({"size": 1_000_000}); 100])));
    // Not read until the runtime gets no further: it cannot have sent it all, as nobody here holds 100 MB.
    let (mut sent, mut unchanged) = (String::new(), 0);
    wait_for("the runtime to be held up", || {
        let now = std::fs::read_to_string(shim.work("sent")).unwrap_or_default();
        unchanged = if now == sent { unchanged + 1 } else { 0 };
        sent = now;
        (unchanged == 50).then_some(())
    });
    assert!(sent.parse::<u64>().unwrap_or_default() < 60_000_000, "{sent}");
    let (mut total, mut peak) = (0, 0);
    while let Some(data) = reader.chunk().filter(|data| !data.is_empty()) {
        total += data.len();
        peak = peak.max(resident_kib(&shim));
    }
    assert_eq!(total, 100_000_000);
    assert!(peak < 32 * 1024, "the shim grew to {peak} KiB");
}

fn resident_kib(shim: &Shim) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn st_07_a_caller_that_does_not_read_is_bounded_by_the_deadline() {
    let shim = streaming().env("FUNCTION_TTL", "2s").env("INVOKER_COUNT", "1").start();
    let reader = Reader::open(&shim, "/", &pieces(&json!([{"size": 100_000_000}])));
    let log = shim.wait_log("REPORT", 1);
    assert!(log.contains("Status: timeout"), "{log}");
    assert_eq!(shim.invoke("1").text(), "1", "the next invoke has a new process");
    drop(reader);
}

#[test]
fn st_08_a_caller_that_leaves_does_not_cancel_the_stream() {
    let shim = streaming().start();
    let event = pieces(&json!(["a", {"wait": "go"}, {"size": 20_000_000}]));
    let mut reader = Reader::open(&shim, "/", &event);
    reader.chunk().unwrap();
    drop(reader);
    shim.touch("go");
    shim.wait_file("sent");
    assert!(shim.wait_file("answered").starts_with("[202, "), "all of it was taken");
    let log = shim.wait_log("REPORT", 1);
    assert!(!log.contains("Status:"), "{log}");
}

#[test]
fn lm_04_two_hundred_megabytes_are_the_limit() {
    for strict in [false, true] {
        let shim = streaming().env("TM_STRICT", &strict.to_string()).env("FUNCTION_TTL", "120s").start();
        let mut reader = Reader::open(&shim, "/", &pieces(&json!([{"size": 209_715_201_u64}])));
        let mut total = 0;
        let ended = loop {
            match reader.chunk() {
                Some(data) if data.is_empty() => break true,
                Some(data) => total += data.len(),
                None => break false,
            }
        };
        // All that fits; the caller can tell that it was cut off, unless all is to be as on AWS.
        assert_eq!((total, ended), (209_715_200, strict));
        let answered = wait_for("the answer", || std::fs::read_to_string(shim.work("answered")).ok());
        assert!(answered.starts_with("[413, ") && answered.contains("(209715200 bytes)"), "{answered}");
        assert_eq!(shim.invoke("1").text(), "1");
    }
}

#[test]
fn lm_29_collected_streams_have_the_limit_of_whole_results() {
    let shim = Setup::actor().start();
    assert_eq!(invoke(&shim, &pieces(&json!([{"size": 6_291_556}]))).body.len(), 6_291_556);
    let over = invoke(&shim, &pieces(&json!([{"size": 6_291_557}])));
    assert_eq!(
        (over.blamed(), over.json()["errorType"].as_str()),
        (true, Some("Function.ResponseSizeTooLarge"))
    );
    let (bytes, _) = Reader::open(&shim, STREAM, &pieces(&json!([{"size": 7_340_032}]))).rest();
    let frames = frames(&bytes);
    assert_eq!(
        frames.iter().map(|(kind, data)| if kind == "PayloadChunk" { data.len() } else { 0 }).sum::<usize>(),
        7_340_032
    );
    assert_eq!(frames.last().unwrap(), &frame("InvokeComplete", "{}"));
}

#[test]
fn st_15_st_16_ht_32_failures_in_the_middle_are_shown() {
    let shim = streaming().env("FUNCTION_TTL", "5s").env("INVOKER_COUNT", "1").start();
    let complete = |event: &Value| {
        let frames = events(&shim, &pieces(event));
        assert_eq!(frames[0], frame("PayloadChunk", "part"));
        assert_eq!(frames.len(), 2, "{frames:?}");
        serde_json::from_str::<Value>(&frames[1].1).unwrap()
    };
    let trailers = complete(&json!(["part", {"trailers": "Own.Error"}]));
    assert_eq!(trailers["ErrorCode"], "Own.Error");
    let exit = complete(&json!(["part", {"exit": 3}]));
    assert!(exit["ErrorCode"].as_str().unwrap().starts_with("Runtime."), "{exit}");
    let timeout = complete(&json!(["part", {"hang": 1}]));
    assert_eq!(timeout["ErrorCode"], "Sandbox.Timedout");
    // For HTTP callers the body has no end.
    for end in [json!({"trailers": "Own.Error"}), json!({"exit": 3}), json!({"hang": 1})] {
        let mut reader = Reader::open(&shim, "/", &pieces(&json!(["part", end])));
        assert_eq!(reader.rest(), (b"part".to_vec(), false), "{end}");
    }
    let log = shim.wait_log("REPORT", 6);
    assert_eq!(log.matches("Status: timeout").count(), 2, "{log}");
    assert_eq!(shim.invoke("1").text(), "1");
    // A buffered caller is told by the header.
    let buffered = invoke(&shim, &pieces(&json!(["part", {"trailers": "Own.Error"}])));
    assert_eq!((buffered.blamed(), buffered.text()), (true, r#"{"errorMessage": "late"}"#));
}

#[test]
fn st_15_strict_hides_failures_in_the_middle_as_aws_does() {
    let shim = streaming().env("TM_STRICT", "true").env("FUNCTION_TTL", "2s").start();
    for end in [json!({"trailers": "Own.Error"}), json!({"hang": 1})] {
        let frames = events(&shim, &pieces(&json!(["part", end])));
        assert_eq!(frames, [frame("PayloadChunk", "part"), frame("InvokeComplete", "{}")], "{end}");
    }
    let trailers = pieces(&json!(["part", {"trailers": "Own.Error"}]));
    assert_eq!(Reader::open(&shim, "/", &trailers).rest(), (b"part".to_vec(), true));
    let failed = events(&shim, r#"{"do":"error"}"#);
    assert_eq!(failed[1], frame("InvokeComplete", "{}"));
    assert!(failed[0].1.contains("Oops"), "{failed:?}");
    let buffered = invoke(&shim, &trailers);
    assert_eq!((buffered.blamed(), buffered.text()), (false, "part"));
}

#[test]
fn st_14_errors_behind_the_beginning_of_a_stream_are_refused() {
    let shim = streaming().start();
    let mut reader = Reader::open(&shim, "/", &pieces(&json!(["a", {"error": 1}, "b"])));
    assert_eq!(reader.rest(), (b"ab".to_vec(), true));
    assert_eq!(shim.wait_file("refused"), "403");
}

#[test]
fn in_27_errors_ahead_of_any_byte_are_ordinary_errors() {
    let shim = streaming().start();
    let failed = events(&shim, r#"{"do":"error"}"#);
    assert_eq!(
        failed[0],
        frame("PayloadChunk", r#"{"errorMessage":"no","errorType":"Oops","stackTrace":[]}"#)
    );
    let end: Value = serde_json::from_str(&failed[1].1).unwrap();
    assert_eq!(end["ErrorCode"], "Unhandled");
    let exit = events(&shim, r#"{"do":"exit","code":"1"}"#);
    assert_eq!((exit.len(), exit[0].0.as_str()), (1, "InvokeComplete"), "{exit:?}");
    assert!(exit[0].1.contains("Runtime.ExitError"), "{exit:?}");
    let plain = shim.invoke(r#"{"do":"error"}"#);
    assert_eq!((plain.status, plain.blamed()), (500, true));
}

#[test]
fn lc_20_a_stream_in_flight_finishes_before_a_stop() {
    let mut shim = streaming().start();
    let mut reader = Reader::open(&shim, "/", &pieces(&json!(["a", {"wait": "go"}, "b"])));
    reader.chunk().unwrap();
    shim.signal(nix::sys::signal::Signal::SIGTERM);
    shim.touch("go");
    assert_eq!(reader.rest(), (b"b".to_vec(), true));
    assert_eq!(shim.wait().code(), Some(0));
}
