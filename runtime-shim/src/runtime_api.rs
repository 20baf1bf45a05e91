//! The Runtime API that a bootstrap process talks to.
//!
//! * `GET  /2018-06-01/runtime/invocation/next` - waits for an event; 200 with the event
//! * `POST /2018-06-01/runtime/invocation/{id}/response` - the result; 202
//! * `POST /2018-06-01/runtime/invocation/{id}/error` - the function's error; 202
//! * `POST /2018-06-01/runtime/init/error` - the init failed; 202
//! * `GET  /2018-06-01/ping` - 200 `pong`
//!
//! * `POST /2020-01-01/extension/register`, `GET …/event/next`, `POST …/init/error`, `POST …/exit/error` - extensions
//! * `PUT  /2022-07-01/telemetry`, `PUT /2020-08-15/logs` - subscriptions of extensions; 200
//!
//! Everything else is 404, a wrong method 405. Handlers know HTTP; what a call means for the worker is decided in the
//! worker's own loop, which they reach through a [`Link`].

mod answer;
mod extension;
mod link;
mod route;
mod shared;
mod stream;
mod upload;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tm_lambda::extension::ExtensionState;
use tm_lambda::limits::MAX_RUNTIME_HEADER_BYTES;
use tm_serve::{AcceptOptions, Http1, Options, Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::body;
use answer::Body;
pub(crate) use link::{
    Call, CallKind, ExtensionReply, Link, NextReply, Offer, SubscribeError, SubscribeReply, Upload, Uploaded,
};
use route::Route;
pub(crate) use shared::{Entry, SharedApi};

/// Binds a listener of one worker's own and serves it on `tasks`.
pub(crate) async fn serve_own(
    link: Link,
    tasks: &Tasks,
    shutdown: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let service = move |_: &tm_serve::Peer| {
        let link = link.clone();
        service_fn(move |request| handle(link.clone(), request))
    };
    tasks.spawn(
        "runtime api",
        tm_serve::serve(tm_serve::Listener::from(listener), service, options(), shutdown),
    );
    Ok(address)
}

/// Clients of the Runtime API are quiet for hours, and put stack traces into headers (RT-02, RT-10, RT-11).
pub(crate) fn options() -> Options {
    Options {
        accept: AcceptOptions { max_connections: 256, drain_timeout: Duration::ZERO },
        http1: Http1 {
            title_case_headers: true,
            header_read_timeout: None,
            // A runtime that is frozen reads its event when it goes on.
            write_stall_timeout: None,
            // One that left while it waited must not take an event (RT-25).
            half_close: false,
            max_header_bytes: MAX_RUNTIME_HEADER_BYTES,
            max_headers: 256,
        },
    }
}

/// Answers one request of a runtime.
pub(crate) async fn handle(link: Link, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let answer = match Route::of(&parts.method, parts.uri.path()) {
        Route::Ping => Ok(answer::pong()),
        Route::Next => link.next().await.map(answer::event),
        Route::Response(id) => upload::response(&link, id, &parts.headers, body).await,
        Route::Error(id) => upload::error(&link, id, &parts.headers, body).await,
        Route::InitError => Box::pin(upload::init_error(&link, &parts.headers, body)).await,
        Route::Register => return Ok(Box::pin(extension::register(&link, &parts.headers, body)).await),
        Route::ExtensionNext => return Ok(Box::pin(extension::next(&link, &parts.headers)).await),
        Route::ExtensionInitError => {
            let state = ExtensionState::InitError;
            return Ok(Box::pin(extension::failed(&link, state, &parts.headers, body)).await);
        }
        Route::ExtensionExitError => {
            let state = ExtensionState::ExitError;
            return Ok(Box::pin(extension::failed(&link, state, &parts.headers, body)).await);
        }
        Route::Subscribe(api) => {
            return Ok(Box::pin(extension::subscribe(&link, api, &parts.headers, body)).await);
        }
        Route::WrongMethod => Ok(unread(body, answer::wrong_method()).await),
        Route::Unknown => Ok(unread(body, answer::not_found()).await),
    };
    Ok(answer.unwrap_or_else(|error| answer::refused(&error)))
}

/// Reads a body that nobody wants, so that the connection stays usable, and gives the answer.
async fn unread(body: Incoming, answer: Response<Body>) -> Response<Body> {
    body::discard(body, upload::DISCARD).await;
    answer
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::HeaderValue;
    use jiff::Timestamp;
    use tm_lambda::{Deadline, RequestId};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;
    use crate::config::Config;
    use crate::invocation::{Context, Delivery, Event};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A connection to a listener like any worker's; the calls that come through it.
    fn connect() -> (DuplexStream, mpsc::Receiver<Call>) {
        let function = Config::read(std::iter::empty(), Vec::new()).unwrap().function;
        let (link, calls) = Link::new(Arc::clone(&function));
        let (client, server) = tokio::io::duplex(64 * 1024);
        let service = service_fn(move |request| handle(link.clone(), request));
        tokio::spawn(tm_serve::connection(server, service, options().http1, CancellationToken::new()));
        (client, calls)
    }

    async fn send(client: &mut DuplexStream, line: &str, more: &str) {
        client.write_all(format!("{line} HTTP/1.1\r\nHost: x\r\n{more}\r\n").as_bytes()).await.unwrap();
    }

    async fn read(client: &mut DuplexStream, end: &str) -> String {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !text.ends_with(end) {
            let size = client.read(&mut buffer).await.unwrap();
            assert!(size > 0, "closed behind {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
        }
        text
    }

    fn delivery() -> Delivery {
        let json = HeaderValue::from_static("application/json");
        Delivery {
            id: RequestId::mint(),
            deadline: Deadline::after(Timestamp::now(), DAY),
            event: Event { body: Bytes::from_static(b"[7]"), content_type: json.clone() },
            context: Context::of(json),
        }
    }

    /// The clock is the test's own, so that a day passes at once; whatever had a limit would show.
    #[tokio::test(start_paused = true)]
    async fn rt_02_rt_03_ex_05_lm_30_lm_31_a_day_of_silence_changes_nothing() {
        let (mut client, mut calls) = connect();
        for _ in 0..2 {
            send(&mut client, "GET /2018-06-01/runtime/invocation/next", "").await;
            let Some(Call::Next(reply)) = calls.recv().await else { panic!("another call") };
            let silence = tokio::time::timeout(DAY, client.read_u8()).await;
            assert!(silence.is_err(), "nothing is sent early, and nothing closed: {silence:?}");
            assert!(reply.send(Ok(delivery())).is_ok(), "it still waits");
            assert!(read(&mut client, "[7]").await.starts_with("HTTP/1.1 200 OK\r\n"));
            // As long between two calls.
            tokio::time::sleep(DAY).await;
        }
        let identifier = format!("Lambda-Extension-Identifier: {}\r\n", Uuid::new_v4());
        send(&mut client, "GET /2020-01-01/extension/event/next", &identifier).await;
        let Some(Call::ExtensionNext { reply, .. }) = calls.recv().await else { panic!("another call") };
        assert!(tokio::time::timeout(DAY, client.read_u8()).await.is_err());
        assert!(reply.send(Ok("{}".to_owned())).is_ok(), "it still waits");
        read(&mut client, "{}").await;
    }
}
