//! Raw bytes on a connection of the front: it ends, and what it was taken for does not depend on how the bytes were cut, which is
//! what smuggling lives of. Each request is read as the front reads it: the Invoke API's, or any other.
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
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// What a request was taken for: its head, and its body if that was whole.
type Seen = (String, Option<Vec<u8>>);

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let whole = runtime.block_on(serve(&[bytes]));
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let parts = runtime.block_on(serve(&[head, tail]));
    assert_eq!(whole, parts, "the cut at {cut} makes a difference");
});

/// Sends the pieces, one read each, and reads until the other side is done.
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
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let options = Http1 { header_read_timeout: None, ..Http1::default() };
    let served = tokio::spawn(connection(server, service, options, CancellationToken::new()));
    for piece in pieces {
        if client.write_all(piece).await.is_err() {
            break;
        }
        // So that the piece is read before the next one is there.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    let _ = client.shutdown().await;
    let _ = client.read_to_end(&mut Vec::new()).await;
    served.await.expect("it does not panic");
    let seen = std::mem::take(&mut *seen.lock().expect("nobody panics"));
    seen
}
