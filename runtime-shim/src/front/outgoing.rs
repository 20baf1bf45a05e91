//! The body of an answer: whole, or passed on while the function still makes it.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{Either, Full};
use tm_lambda::FunctionError;
use tm_lambda::error_type::RESPONSE_TOO_LARGE;
use tm_lambda::event_stream::{self, InvokeComplete};
use tm_lambda::headers::UNHANDLED;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, sleep};

use crate::invocation::{Answer, Outcome, ResponseStream};

/// How long what was written before a stream broke off has to leave: hyper writes while a body has nothing for it, and drops
/// what it still holds, at most 400 KiB or so, when the body fails.
const FLUSH: Duration = Duration::from_millis(100);

/// The body of every answer.
/// A stream is apart, as bodies are moved a few times on their way.
pub(crate) type Body = Either<Full<Bytes>, Box<Outgoing>>;

/// A body that is not there yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// What goes out first.
    ready: VecDeque<Bytes>,
    source: Source,
    form: Form,
}

/// Where the rest comes from.
#[derive(Debug)]
enum Source {
    Data(mpsc::Receiver<Bytes>, oneshot::Receiver<Answer>),
    End(oneshot::Receiver<Answer>),
    /// It broke off, and what was written has until then to leave.
    Cut(Pin<Box<Sleep>>),
    Done,
}

/// How it is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// The bytes as they are.
    Raw(Mishap),
    /// Frames of an event stream (IN-26).
    Frames { strict: bool },
}

/// What a caller of a raw stream sees of a failure in its middle (ST-15, ST-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The body has no proper end, so that the caller notices.
    Shown,
    /// A failure that the function reported, or a stream that is too long, looks like an end; one of the process does not.
    Hidden,
}

/// The stream broke off in its middle; the connection is closed without the end of the body.
#[derive(Debug, thiserror::Error)]
#[error("the function failed in the middle of its stream")]
pub(crate) struct BrokenOff;

/// A body that is there.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(bytes.into()))
}

/// The bytes of a stream as they come.
pub(crate) fn stream(stream: ResponseStream, mishap: Mishap) -> Body {
    stream_behind(Bytes::new(), stream, mishap)
}

/// The same, with bytes that came ahead.
pub(crate) fn stream_behind(first: Bytes, stream: ResponseStream, mishap: Mishap) -> Body {
    let ResponseStream { data_rx, end_rx, .. } = stream;
    let ready = VecDeque::from_iter((!first.is_empty()).then_some(first));
    Either::Right(Box::new(Outgoing {
        ready,
        source: Source::Data(data_rx, end_rx),
        form: Form::Raw(mishap),
    }))
}

/// A stream as an event stream.
pub(crate) fn frames(stream: ResponseStream, strict: bool) -> Body {
    let ResponseStream { data_rx, end_rx, .. } = stream;
    let (ready, source) = (VecDeque::new(), Source::Data(data_rx, end_rx));
    Either::Right(Box::new(Outgoing { ready, source, form: Form::Frames { strict } }))
}

/// An event stream that is there: these bytes and this end.
pub(crate) fn framed(bytes: Bytes, answer: Answer, strict: bool) -> Body {
    let mut ready = chunks(bytes);
    ready.push_back(complete(
        answer,
        strict,
        |error| if error.is_reported() { UNHANDLED } else { error.code() },
    ));
    Either::Right(Box::new(Outgoing { ready, source: Source::Done, form: Form::Frames { strict } }))
}

// === impl Mishap ===

impl Mishap {
    pub(crate) fn of(strict: bool) -> Self {
        if strict { Self::Hidden } else { Self::Shown }
    }
}

// === impl Form ===

impl Form {
    fn data(self, data: Bytes) -> VecDeque<Bytes> {
        match self {
            Self::Raw(_) => VecDeque::from([data]),
            Self::Frames { .. } => chunks(data),
        }
    }

    /// The last of the body; an error ends it in the middle.
    fn end(self, answer: Option<Answer>) -> Result<VecDeque<Bytes>, BrokenOff> {
        let answer = answer.ok_or(BrokenOff)?;
        match self {
            Self::Frames { strict } => Ok(VecDeque::from([complete(answer, strict, FunctionError::code)])),
            Self::Raw(mishap) => match answer.outcome {
                Outcome::Success(_) => Ok(VecDeque::new()),
                // It reported the failure and then ended its stream, or was cut off by the limit (LM-04).
                Outcome::Failed(error)
                    if mishap == Mishap::Hidden
                        && (error.is_reported() || error.error_type() == RESPONSE_TOO_LARGE) =>
                {
                    Ok(VecDeque::new())
                }
                _ => Err(BrokenOff),
            },
        }
    }
}

/// A piece as frames that clients take.
fn chunks(mut bytes: Bytes) -> VecDeque<Bytes> {
    let mut frames = VecDeque::with_capacity(bytes.len() / event_stream::MAX_PAYLOAD + 2);
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(event_stream::MAX_PAYLOAD));
        frames.push_back(event_stream::payload_chunk(&piece));
    }
    frames
}

/// The last frame (IN-26). AWS was seen to hide what went wrong (12.3), and so does `strict`.
fn complete(answer: Answer, strict: bool, code: impl Fn(&FunctionError) -> &str) -> Bytes {
    let error = match &answer.outcome {
        Outcome::Success(_) | Outcome::Stopping => None,
        Outcome::Failed(error)
        | Outcome::TimedOut(error)
        | Outcome::Expired(error)
        | Outcome::Stopped(error) => Some(error).filter(|_| !strict),
    };
    let details = |error: &FunctionError| String::from_utf8_lossy(error.payload()).into_owned();
    event_stream::invoke_complete(&InvokeComplete {
        error_code: error.map(|error| code(error).to_owned()),
        error_details: error.map(details),
        log_result: answer.log.map(|log| STANDARD.encode(log)),
    })
}

// === impl Outgoing ===

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match std::mem::replace(&mut this.source, Source::Done) {
                Source::Data(mut data_rx, end_rx) => match data_rx.poll_recv(cx) {
                    Poll::Pending => {
                        this.source = Source::Data(data_rx, end_rx);
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(data)) => {
                        this.ready = this.form.data(data);
                        this.source = Source::Data(data_rx, end_rx);
                    }
                    Poll::Ready(None) => this.source = Source::End(end_rx),
                },
                Source::End(mut end_rx) => match Pin::new(&mut end_rx).poll(cx) {
                    Poll::Pending => {
                        this.source = Source::End(end_rx);
                        return Poll::Pending;
                    }
                    Poll::Ready(answer) => match this.form.end(answer.ok()) {
                        Ok(last) => this.ready = last,
                        Err(BrokenOff) => this.source = Source::Cut(Box::pin(sleep(FLUSH))),
                    },
                },
                Source::Cut(mut flushed) => match flushed.as_mut().poll(cx) {
                    Poll::Pending => {
                        this.source = Source::Cut(flushed);
                        return Poll::Pending;
                    }
                    Poll::Ready(()) => return Poll::Ready(Some(Err(BrokenOff))),
                },
                Source::Done => return Poll::Ready(None),
            }
        }
    }
}
