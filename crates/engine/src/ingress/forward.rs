//! One request to one pod and the answer back.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{self, CONTENT_LENGTH},
    request::Parts,
};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{Client, Error, connect::HttpConnector};
use tm_serve::Peer;
use tokio::time::timeout;

use super::{Body, BodyError, Refused, patience::Patience};
use crate::autoscaler::{Gate, Permit};

/// Largest body that is kept so that the request can be sent to another pod when the first one is just going away.
const KEEP: u64 = 1 << 20;
/// Pods that are tried.
const ATTEMPTS: u32 = 3;

/// Headers that belong to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A request's body on its way to a pod.
pub(crate) enum Payload {
    /// Kept; can be sent again.
    Kept(Full<Bytes>),
    /// As it comes.
    Streamed(Incoming),
}

/// An answer's body; the pod counts as busy until it is gone.
struct Answer {
    body: Incoming,
    patience: Patience,
    _permit: Permit,
}

/// Sends the request to a pod of the Revision, waiting for one if need be.
pub(super) async fn send(
    client: &Client<HttpConnector, Payload>,
    gate: &Arc<Gate>,
    request: Request<Incoming>,
    peer: &Peer,
) -> Result<Response<Body>, Refused> {
    let limit = gate.timeout();
    let exchange = exchange(client, gate, request, peer);
    timeout(limit, exchange).await.unwrap_or(Err(Refused::TimedOut(limit.as_secs())))
}

async fn exchange(
    client: &Client<HttpConnector, Payload>,
    gate: &Arc<Gate>,
    request: Request<Incoming>,
    peer: &Peer,
) -> Result<Response<Body>, Refused> {
    let (mut parts, body) = request.into_parts();
    strip(&mut parts.headers);
    forwarded(&mut parts.headers, peer);
    let bytes = match kept(body).await? {
        Kept::Whole(bytes) => bytes,
        Kept::Not(body) => {
            let permit = gate.enter().await?;
            let sent = attempt(client, gate, outgoing(&parts, &permit, Payload::Streamed(body))).await?;
            return sent.map(|answer| answer.into_response(permit)).map_err(Refused::Broken);
        }
    };
    let mut attempts_left = ATTEMPTS;
    loop {
        attempts_left -= 1;
        let permit = gate.enter().await?;
        let body = Payload::Kept(Full::new(bytes.clone()));
        match attempt(client, gate, outgoing(&parts, &permit, body)).await? {
            Ok(answer) => return Ok(answer.into_response(permit)),
            Err(error) if error.is_connect() && attempts_left > 0 => {
                permit.condemn();
                // The pod was leaving; its successor is asked for by the gate.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => return Err(Refused::Broken(error)),
        }
    }
}

/// The beginning of an answer, and how long its rest may take.
struct Begun {
    response: Response<Incoming>,
    patience: Patience,
}

/// Sends to a pod and waits for the answer to begin.
async fn attempt(
    client: &Client<HttpConnector, Payload>,
    gate: &Gate,
    request: Request<Payload>,
) -> Result<Result<Begun, Error>, Refused> {
    let limits = gate.limits();
    let patience = Patience::from_now(limits);
    let first = limits.idle.map_or(limits.first_byte, |idle| idle.min(limits.first_byte));
    match timeout(first, client.request(request)).await {
        Ok(sent) => Ok(sent.map(|response| Begun { response, patience })),
        Err(_) => Err(Refused::TimedOut(first.as_secs())),
    }
}

/// A request's body, in memory when it is small.
enum Kept {
    Whole(Bytes),
    Not(Incoming),
}

/// Keeps a small body: only what is kept can be sent to another pod.
async fn kept(body: Incoming) -> Result<Kept, Refused> {
    if body.size_hint().upper().is_none_or(|size| size > KEEP) {
        return Ok(Kept::Not(body));
    }
    Ok(Kept::Whole(body.collect().await.map_err(Refused::Request)?.to_bytes()))
}

fn outgoing(parts: &Parts, permit: &Permit, body: Payload) -> Request<Payload> {
    // `OPTIONS *` has a path that is none.
    let path = parts.uri.path_and_query().map(|path| path.as_str()).filter(|path| path.starts_with('/'));
    let path = path.unwrap_or("/");
    let uri = Uri::builder()
        .scheme("http")
        .authority(permit.address().to_string())
        .path_and_query(path)
        .build()
        .expect("an address and a parsed path make a URI");
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers.clone();
    request
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// Says who asked, as every proxy does.
fn forwarded(headers: &mut HeaderMap, peer: &Peer) {
    let address = match peer {
        Peer::Tcp { remote, .. } => remote.ip().to_string(),
        Peer::Unix => return,
    };
    let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let all = before.map_or_else(|| address.clone(), |before| format!("{before}, {address}"));
    if let Ok(value) = HeaderValue::from_str(&all) {
        headers.insert("x-forwarded-for", value);
    }
    headers.entry("x-forwarded-proto").or_insert(HeaderValue::from_static("http"));
}

// === impl Begun ===

impl Begun {
    fn into_response(self, permit: Permit) -> Response<Body> {
        let (mut parts, body) = self.response.into_parts();
        strip(&mut parts.headers);
        if body.size_hint().exact().is_none() {
            parts.headers.remove(CONTENT_LENGTH);
        }
        let mut patience = self.patience;
        patience.heard();
        Response::from_parts(parts, Answer { body, patience, _permit: permit }.boxed())
    }
}

// === impl Payload ===

impl hyper::body::Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Kept(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Kept(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Kept(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

// === impl Answer ===

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending() {
            return this.patience.poll_end(cx).map(|()| Some(Err(BodyError::TimedOut)));
        }
        this.patience.heard();
        polled.map_err(BodyError::Pod)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
