//! What cannot be beaten: the same hops without anything in between. This program serves both roles in processes of its own.

use std::convert::Infallible;
use std::pin::Pin;
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
use tokio::sync::Mutex;

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
