//! Raw bytes on a connection of the front: it ends, and what it was taken for does not depend on how the bytes were cut, which is
//! what smuggling lives of. Then the same bytes go to the shim's own front, in each of its forms: whatever is an event there reaches a
//! function, which gives it back, and the answers do not depend on the cut either.
#![no_main]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use libfuzzer_sys::fuzz_target;
use tm_lambda::TraceId;
use tm_lambda::invoke::Operation;
use tm_serve::{Http1, connection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

/// What a request was taken for: its head, and its body if that was whole.
type Seen = (String, Option<Vec<u8>>);

/// The forms of the front.
const FORMATS: [&str; 7] =
    ["plain", "apigateway-v1", "apigateway-v2", "function-url", "alb", "alb-multi-value", "cloudevents"];

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (cut, format, bytes) = input;
    // A clock of its own, so that a slow machine makes no difference and a wait no delay.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let whole = runtime.block_on(serve(&[bytes]));
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let parts = runtime.block_on(serve(&[head, tail]));
    assert_eq!(whole, parts, "the cut at {cut} makes a difference");
    let format = FORMATS[usize::from(format) % FORMATS.len()];
    let (whole, parts) = (runtime.block_on(front(format, &[bytes])), runtime.block_on(front(format, &[head, tail])));
    assert_eq!(whole, parts, "the cut at {cut} makes a difference to {format}");
});

/// Those of answers with an id. hyper's own to what is no request have none, and depend on whether the end had come, too.
fn statuses(answers: &str) -> Vec<String> {
    let (mut statuses, mut last) = (Vec::new(), None);
    for line in answers.lines() {
        if line.starts_with("HTTP/1.1 ") {
            last = Some(line.to_owned());
        } else if line.starts_with("x-amzn-requestid: ") {
            statuses.extend(last.take());
        }
    }
    statuses
}

/// The statuses of the shim's answers, and how many events there were; what is in them has ids and times.
async fn front(format: &str, pieces: &[&[u8]]) -> (Vec<String>, usize) {
    let (client, server) = tokio::io::duplex(1 << 16);
    let variables = [("TM_EVENT_FORMAT".into(), format.into())];
    let served = tokio::spawn(runtime_shim::exchange(variables, server));
    let answers = send(client, pieces).await;
    let events = served.await.expect("it does not panic").expect("the variables are right");
    (statuses(&String::from_utf8_lossy(&answers)), events.len())
}

/// Sends the pieces, one read each, and reads until the other side is done.
async fn send(client: DuplexStream, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let (mut answers, pieces) = (Vec::new(), pieces.iter());
    let write = async {
        for piece in pieces {
            if writer.write_all(piece).await.is_err() {
                break;
            }
            // So that the piece is read before the next one is there.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        let _ = writer.shutdown().await;
    };
    let (_, ()) = tokio::join!(reader.read_to_end(&mut answers), write);
    answers
}

/// What the requests are taken for.
async fn serve(pieces: &[&[u8]]) -> Vec<Seen> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let log = Arc::clone(&log);
        async move {
            let (parts, body) = request.into_parts();
            let _ = Operation::owns(parts.uri.path()).then(|| Operation::of(&parts.method, parts.uri.path()));
            let _ = TraceId::of(&parts.headers);
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            let head = format!("{} {} {:?} {:?}", parts.method, parts.uri, parts.version, parts.headers);
            log.lock().expect("nobody panics").push((head, body));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let (client, server) = tokio::io::duplex(1 << 16);
    let options = Http1 { header_read_timeout: None, half_close: true, ..Http1::default() };
    let served = tokio::spawn(connection(server, service, options, CancellationToken::new()));
    send(client, pieces).await;
    served.await.expect("it does not panic");
    let seen = std::mem::take(&mut *seen.lock().expect("nobody panics"));
    seen
}
