//! Results that reach their caller while the runtime still makes them (section 2).

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tm_lambda::api_error::ApiError;
use tm_lambda::headers;
use tm_lambda::limits::MAX_STREAM_BYTES;
use tokio::sync::mpsc;

use super::answer;
use super::link::{Offer, Upload, Uploaded};
use super::upload::{self, Answer};
use crate::body;
use crate::invocation::StreamForm;

/// Pieces between the runtime and the caller. Each is at most as large as hyper's read buffer on this listener (2 MiB), so
/// that is what a slow caller costs, times this and two.
const PIECES: usize = 2;

/// Whether a runtime sends its result as a stream: it does when it says so, when it is a stream for HTTP callers, or when it comes in
/// chunks and is not called JSON. Go's client says nothing and sends everything in chunks: JSON for values, any other type
/// for readers.
pub(super) fn form(headers: &HeaderMap, body: &Incoming) -> Option<Box<StreamForm>> {
    let content_type = headers.get(CONTENT_TYPE);
    let json = content_type.is_none_or(|value| value.as_bytes().starts_with(headers::JSON.as_bytes()));
    let http = content_type.is_some_and(|value| value == headers::HTTP_INTEGRATION);
    let chunked = body.size_hint().exact().is_none();
    let streamed = headers.contains_key(headers::RUNTIME_RESPONSE_MODE) || http || (chunked && !json);
    streamed.then(|| Box::new(StreamForm { content_type: content_type.cloned() }))
}

/// What a caller is offered, and the handler's end of it.
pub(super) fn offer(form: &StreamForm) -> (Offer, mpsc::Sender<Bytes>) {
    let (data_tx, data_rx) = mpsc::channel(PIECES);
    (Offer { content_type: form.content_type.clone(), data_rx }, data_tx)
}

/// Passes the body on, piece by piece (ST-04), as quickly as the caller takes it (ST-07). A caller that has left cancels
/// nothing (ST-08). The worker bounds the time: at the deadline it abandons the upload, whether the runtime or the caller is the slow one.
pub(super) async fn forward(mut upload: Upload, data_tx: mpsc::Sender<Bytes>, mut body: Incoming) -> Answer {
    let (mut left, mut over, mut trailers) = (MAX_STREAM_BYTES, false, None);
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = upload.abandoned() => return give_up(data_tx, body).await,
        };
        let Some(frame) = frame else { break };
        let mut data = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(frame)) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the runtime's stream broke off");
                upload.finish(Uploaded::Truncated);
                return Err(ApiError::Truncated);
            }
        };
        over |= data.len() > left;
        data.truncate(left);
        left -= data.len();
        if !data.is_empty() {
            tokio::select! {
                biased;
                _ = data_tx.send(data) => {}
                () = upload.abandoned() => return give_up(data_tx, body).await,
            }
        }
    }
    drop(data_tx);
    if over {
        upload.finish(Uploaded::TooLarge(MAX_STREAM_BYTES));
        return Err(ApiError::TooLarge(MAX_STREAM_BYTES));
    }
    upload.finish(
        trailers
            .as_ref()
            .and_then(upload::error_of)
            .map_or(Uploaded::Streamed((MAX_STREAM_BYTES - left) as u64), Uploaded::Error),
    );
    Ok(answer::accepted())
}

/// The time is over: the caller's stream ends here. Where the process lives on, as it has other invokes, it is told.
async fn give_up(data_tx: mpsc::Sender<Bytes>, body: Incoming) -> Answer {
    drop(data_tx);
    body::discard(body, upload::DISCARD).await;
    Err(ApiError::InvokeTimeout)
}
