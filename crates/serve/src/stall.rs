//! A limit on peers that do not read: a write that waits too long without any progress fails, and with it the connection.
//!
//! Time counts only while there are bytes that the peer's side does not take; a connection on which nothing is said, or an
//! answer that is still being made, is none of its business.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection whose writes may stall for a limited time.
#[derive(Debug)]
pub(crate) struct Stalling<I> {
    io: I,
    /// `None` for peers that may take as long as they like.
    limit: Option<Duration>,
    /// There while a write waits.
    over: Option<Pin<Box<Sleep>>>,
}

// === impl Stalling ===

impl<I> Stalling<I> {
    pub(crate) fn new(io: I, limit: Option<Duration>) -> Self {
        Self { io, limit, over: None }
    }

    /// The outcome of a write; a wait becomes a failure when it has been too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let (Poll::Pending, Some(limit)) = (&written, self.limit) else {
            self.over = None;
            return written;
        };
        ready!(self.over.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        self.over = None;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Stalling<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Stalling<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_reads_a_little_now_and_then_is_no_stalled_peer() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let writer = tokio::spawn(async move {
            let mut ours = Stalling::new(ours, Some(LIMIT));
            let written = ours.write_all(&[7; 40]).await;
            (written.map_err(|error| error.kind()), ours)
        });
        let mut piece = [0; 4];
        for _ in 0..9 {
            tokio::time::sleep(LIMIT * 9 / 10).await;
            theirs.read_exact(&mut piece).await.unwrap();
        }
        let (written, mut ours) = writer.await.unwrap();
        assert_eq!(written, Ok(()));

        // Nothing is to be written for a long time; and then nobody reads.
        theirs.read_exact(&mut piece).await.unwrap();
        tokio::time::sleep(LIMIT * 3).await;
        let began = Instant::now();
        let error = ours.write_all(&[7; 40]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, LIMIT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_happens() {
        let (ours, theirs) = tokio::io::duplex(4);
        let mut ours = Stalling::new(ours, None);
        let waited = tokio::time::timeout(Duration::from_secs(100_000), ours.write_all(&[7; 40])).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(theirs);
    }
}
