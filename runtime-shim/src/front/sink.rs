//! Results on their way to `K_SINK` (CE-24). Only results go there; failures go to the caller, who may try again.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tm_lambda::{RequestId, headers};
use tokio::net::TcpStream;

use super::answer;
use super::outgoing::Body;
use crate::body;
use crate::codec::cloud_events;
use crate::config::Sink;

/// Why a result did not arrive.
#[derive(Debug, thiserror::Error)]
enum SinkError {
    #[error("failed to connect")]
    Connect(#[source] std::io::Error),
    #[error("the exchange broke off")]
    Http(#[source] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("no answer within {LIMIT:?}")]
    Slow,
}

/// How long a sink may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What is read of a sink's answer, which nobody looks at.
const DISCARD: usize = 1024 * 1024;

/// What a sink is told of the trace that a request is part of: what the caller said of it.
pub(super) fn traces(fields: &HeaderMap) -> HeaderMap {
    let names = [headers::AMZN_TRACE_ID, headers::TRACEPARENT, headers::TRACESTATE];
    names.into_iter().filter_map(|name| fields.get(&name).cloned().map(|value| (name, value))).collect()
}

/// Posts a result and gives the caller an empty answer; 502 when the sink does not take it. An empty result is posted nowhere.
pub(super) async fn deliver(
    sink: &Sink,
    id: RequestId,
    response: Response<Body>,
    mut fields: Box<HeaderMap>,
) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return answer::broken(id);
    };
    if body.is_empty() {
        return cloud_events::empty(id, StatusCode::OK);
    }
    if let Some(content_type) = parts.headers.get(CONTENT_TYPE) {
        fields.insert(CONTENT_TYPE, content_type.clone());
    }
    let posted = tokio::time::timeout(LIMIT, post(sink, *fields, body));
    match posted.await.unwrap_or(Err(SinkError::Slow)) {
        Ok(()) => cloud_events::empty(id, StatusCode::OK),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%id, error, host = sink.host, "the sink did not take a result");
            answer::undelivered(id)
        }
    }
}

async fn post(sink: &Sink, fields: HeaderMap, body: Bytes) -> Result<(), SinkError> {
    let stream = TcpStream::connect((sink.host.as_str(), sink.port)).await.map_err(SinkError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(SinkError::Http)?;
    let request = Request::post(sink.path.as_str()).header(HOST, &sink.authority);
    let mut request = request.body(Full::new(body)).expect("path and host were parsed before");
    request.headers_mut().extend(fields);
    let exchange = async {
        let response = sender.send_request(request).await.map_err(SinkError::Http)?;
        let status = response.status();
        body::discard(response.into_body(), DISCARD).await;
        if status.is_success() { Ok(()) } else { Err(SinkError::Status(status)) }
    };
    let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
    // The connection makes the exchange go on; it may end a moment before the exchange has seen its answer.
    tokio::select! {
        result = &mut exchange => return result,
        ended = &mut connection => ended.map_err(SinkError::Http)?,
    }
    exchange.await
}
