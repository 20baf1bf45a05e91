//! What cannot be beaten: the same hops without anything in between. This program serves all roles in processes of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Serves echo and prints the port.
pub(crate) fn serve() {
    run(async {
        let (listener, _) = listen().await;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = service_fn(|request: Request<Incoming>| async {
                let streams = request.uri().path() == "/stream";
                let body =
                    request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                Ok::<_, Infallible>(Response::new(if streams { filling(&body) } else { whole(body) }))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            drop(tokio::spawn(connection.serve_connection(TokioIo::new(stream), service)));
        }
    });
}

/// Passes requests on to `port`, with one connection there for each here, and prints its own port.
pub(crate) fn proxy(port: u16) {
    run(async move {
        let (listener, _) = listen().await;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            upstream.set_nodelay(true).unwrap();
            let (sender, driver) =
                hyper::client::conn::http1::handshake(TokioIo::new(upstream)).await.unwrap();
            drop(tokio::spawn(driver));
            let sender: &'static Mutex<SendRequest<Full<Bytes>>> = Box::leak(Box::new(Mutex::new(sender)));
            let service = service_fn(move |request: Request<Incoming>| async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let response =
                    sender.lock().await.send_request(Request::from_parts(parts, Full::new(body))).await;
                let (parts, body) = response.unwrap().into_parts();
                if body.size_hint().exact().is_none() {
                    return Ok::<_, Infallible>(Response::from_parts(
                        parts,
                        BodyExt::boxed_unsync(body.map_err(std::io::Error::other)),
                    ));
                }
                let body = body.collect().await.unwrap().to_bytes();
                Ok(Response::from_parts(parts, whole(body)))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            drop(tokio::spawn(connection.serve_connection(TokioIo::new(stream), service)));
        }
    });
}

/// What an invoke cannot do without: the caller's exchange, and on the other side `next` and `response`, with just the
/// headers that AWS's Rust client wants. Prints its port.
pub(crate) fn exchanges() {
    run(async {
        let (listener, _) = listen().await;
        let (calls, waiting) = mpsc::channel::<Call>(1024);
        let board = Box::leak(Box::new((calls, Mutex::new(waiting), Mutex::new(HashMap::new()))));
        let board: &'static Board = board;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = service_fn(move |request| exchange(board, request));
            let connection = hyper::server::conn::http1::Builder::new();
            drop(tokio::spawn(connection.serve_connection(TokioIo::new(stream), service)));
        }
    });
}

/// An event, and who waits for its result.
type Call = (Bytes, oneshot::Sender<Bytes>);

/// Calls for the workers, and callers that wait, by the number of their event.
type Board =
    (mpsc::Sender<Call>, Mutex<mpsc::Receiver<Call>>, Mutex<HashMap<String, oneshot::Sender<Bytes>>>);

/// Where a runtime asks for events and answers them.
const INVOCATION: &str = "/2018-06-01/runtime/invocation/";

const ID: &str = "Lambda-Runtime-Aws-Request-Id";

/// Late enough.
const DEADLINE: &str = "4102444800000";

async fn exchange(
    (calls, waiting, callers): &Board,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if let Some(of_runtime) = parts.uri.path().strip_prefix(INVOCATION) {
        if of_runtime == "next" {
            let Some((event, caller)) = waiting.lock().await.recv().await else { unreachable!("it is held") };
            let id = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
            callers.lock().await.insert(id.clone(), caller);
            let next = Response::builder().header(ID, id).header("Lambda-Runtime-Deadline-Ms", DEADLINE);
            return Ok(next.body(whole(event)).unwrap());
        }
        let id = of_runtime.strip_suffix("/response").unwrap();
        let caller = callers.lock().await.remove(id).unwrap();
        let _ = caller.send(body);
        return Ok(Response::builder().status(202).body(whole(Bytes::new())).unwrap());
    }
    let (caller, result) = oneshot::channel();
    calls.send((body, caller)).await.unwrap();
    Ok(Response::new(whole(result.await.unwrap_or_default())))
}

/// Takes events from `port` and gives them back, one at a time.
pub(crate) fn worker(port: u16) {
    run(async move {
        let upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        upstream.set_nodelay(true).unwrap();
        let (mut sender, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(upstream)).await.unwrap();
        drop(tokio::spawn(driver));
        let request = |path: &str| Request::builder().uri(path).header("host", "127.0.0.1");
        loop {
            let next = request(&format!("{INVOCATION}next")).body(Full::new(Bytes::new())).unwrap();
            sender.ready().await.unwrap();
            let Ok(event) = sender.send_request(next).await else { return };
            let (parts, event) = event.into_parts();
            let path = format!("{INVOCATION}{}/response", parts.headers[ID].to_str().unwrap());
            let event = event.collect().await.unwrap().to_bytes();
            let response = request(&path).method("POST").body(Full::new(event)).unwrap();
            sender.ready().await.unwrap();
            let accepted = sender.send_request(response).await.unwrap();
            accepted.into_body().collect().await.unwrap();
        }
    });
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// As many bytes as `{"size": …}` says, in pieces.
fn filling(event: &[u8]) -> Body {
    let event: serde_json::Value = serde_json::from_slice(event).unwrap();
    let size = usize::try_from(event["size"].as_u64().unwrap()).unwrap();
    let piece = Bytes::from_static(&[b'x'; 65536]);
    Filling { left: size, piece }.boxed_unsync()
}

/// A body of that many bytes.
struct Filling {
    left: usize,
    piece: Bytes,
}

impl http_body::Body for Filling {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let piece = self.piece.slice(..self.piece.len().min(self.left));
        self.left -= piece.len();
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    println!("{port}");
    (listener, port)
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}
