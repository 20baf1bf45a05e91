//! The accept loop from outside: drain with requests in flight, the cut at the deadline, Unix sockets, header names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tm_serve::{Drained, Listener, Options, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Says that a request arrived, and waits to be let go.
#[derive(Clone, Default)]
struct Gate {
    arrived: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    async fn answer(self, _: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        self.arrived.notify_one();
        self.open.notified().await;
        Ok(Response::builder().header("x-long-name", "1").body(Full::from("done")).unwrap())
    }
}

struct Server {
    gate: Gate,
    shutdown: CancellationToken,
    done: tokio::task::JoinHandle<Drained>,
}

fn start(listener: Listener, options: Options) -> Server {
    let (gate, shutdown) = (Gate::default(), CancellationToken::new());
    let (stop, service) = (shutdown.clone(), gate.clone());
    let done = tokio::spawn(async move {
        let make = move |_: &tm_serve::Peer| {
            let gate = service.clone();
            service_fn(move |request| gate.clone().answer(request))
        };
        serve(listener, make, options, stop).await
    });
    Server { gate, shutdown, done }
}

async fn tcp() -> (Listener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_running_request_finishes_during_the_drain() {
    let (listener, address) = tcp().await;
    let mut options = Options::default();
    options.http1.title_case_headers = true;
    let server = start(listener, options);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(GET).await.unwrap();
    server.gate.arrived.notified().await;
    server.shutdown.cancel();
    server.gate.open.notify_one();
    let text = read_all(client).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("done"), "{text}");
    assert!(text.contains("X-Long-Name: 1\r\n") && text.contains("Content-Length: 4\r\n"), "{text}");
    assert_eq!(server.done.await.unwrap(), Drained::Finished);
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let (listener, address) = tcp().await;
    let server = start(listener, Options::default().drain_timeout(Duration::from_millis(20)));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(GET).await.unwrap();
    server.gate.arrived.notified().await;
    server.shutdown.cancel();
    assert_eq!(server.done.await.unwrap(), Drained::Cut(1));
    assert_eq!(read_all(client).await, "");
}

#[tokio::test]
async fn the_connection_limit_holds_back_the_next_one() {
    let (listener, address) = tcp().await;
    let mut options = Options::default();
    options.accept.max_connections = 1;
    let server = start(listener, options);
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(GET).await.unwrap();
    server.gate.arrived.notified().await;
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(GET).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), server.gate.arrived.notified()).await;
    assert!(early.is_err(), "the second request arrived while the first held the only connection");
    server.gate.open.notify_one();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    drop(first);
    server.gate.arrived.notified().await;
    server.gate.open.notify_one();
    second.read_exact(&mut byte).await.unwrap();
}

#[tokio::test]
async fn unix_sockets() {
    let folder = std::env::temp_dir().join(format!("tm-serve-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let _ = std::fs::remove_file(&path);
    let server = start(UnixListener::bind(&path).unwrap().into(), Options::default());
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    server.gate.open.notify_one();
    assert!(read_all(client).await.ends_with("done"));
    std::fs::remove_dir_all(folder).unwrap();
}

/// A caller that does not read its answer gives its place back, and holds up no stop.
#[tokio::test]
async fn who_does_not_read_is_cut() {
    let (listener, address) = tcp().await;
    let mut options = Options::default().drain_timeout(Duration::from_secs(3600));
    options.accept.max_connections = 1;
    options.http1.write_stall_timeout = Some(Duration::from_millis(200));
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let done = tokio::spawn(async move {
        // More than sockets hold.
        let answer =
            |_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; 64 << 20])))) };
        serve(listener, move |_: &tm_serve::Peer| service_fn(answer), options, stop).await
    });
    let mut stalled = TcpStream::connect(address).await.unwrap();
    stalled.write_all(GET).await.unwrap();
    let mut byte = [0];
    stalled.read_exact(&mut byte).await.unwrap();
    let patience = Duration::from_secs(30);
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(GET).await.unwrap();
    tokio::time::timeout(patience, second.read_exact(&mut byte)).await.expect("a place was free").unwrap();
    shutdown.cancel();
    let drained = tokio::time::timeout(patience, done).await.expect("the stop had an end").unwrap();
    assert_eq!(drained, Drained::Finished);
    drop((stalled, second));
}
