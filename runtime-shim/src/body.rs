//! Request bodies, read whole and with a limit. The front and the Runtime API both read them here.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// A body that was read to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// More than the limit; the rest has not been read.
    #[error("the body is too large")]
    TooLarge(Incoming),
    /// The connection broke before the end.
    #[error("the body is incomplete")]
    Broken(#[source] hyper::Error),
}

/// Room that is made ahead, by the word of the sender alone.
const MAX_AHEAD: usize = 1024 * 1024;

/// Reads a body of at most `limit` bytes. A declared length beyond it is refused before anything is read, so that a
/// sender who asked with `Expect: 100-continue` never starts.
pub(crate) async fn read(mut body: Incoming, limit: usize) -> Result<Whole, BodyError> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(BodyError::TooLarge(body));
    }
    let (mut bytes, mut trailers) = (Gathered::None, None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(BodyError::Broken)?.into_data() {
            Ok(data) if bytes.len() + data.len() > limit => return Err(BodyError::TooLarge(body)),
            Ok(data) => bytes.push(data, declared.min(MAX_AHEAD)),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Whole { bytes: bytes.freeze(), trailers })
}

/// Reads the rest of a refused body, so that the sender gets to read the answer; gives up after `limit` bytes.
pub(crate) async fn discard(mut body: Incoming, limit: usize) {
    let mut total = 0;
    while let Some(Ok(frame)) = body.frame().await {
        total += frame.data_ref().map_or(0, Bytes::len);
        if total > limit {
            return;
        }
    }
}

/// Bytes so far. Most bodies come in one piece, which is then not copied.
enum Gathered {
    None,
    One(Bytes),
    Many(BytesMut),
}

// === impl Gathered ===

impl Gathered {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, data: Bytes, ahead: usize) {
        match self {
            Self::None => *self = Self::One(data),
            Self::One(first) => {
                let mut many = BytesMut::with_capacity(ahead.max(first.len() + data.len()));
                many.extend_from_slice(first);
                many.extend_from_slice(&data);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.extend_from_slice(&data),
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}
