//! What cannot be beaten: the same hops without anything in between. This program serves both roles in processes of its own.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
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
                let body =
                    request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                Ok::<_, Infallible>(Response::new(Full::new(body)))
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
                let body = body.collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(Response::from_parts(parts, Full::new(body)))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            drop(tokio::spawn(connection.serve_connection(TokioIo::new(stream), service)));
        }
    });
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
