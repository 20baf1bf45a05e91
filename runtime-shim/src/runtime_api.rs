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
