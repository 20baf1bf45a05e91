//! A listener whose connections speak TLS. The handshake happens when the connection is first used, in its own task:
//! a slow client holds up nobody else, and the server's limit on request heads covers it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tm_serve::{Accept, Listener, Peer, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;

/// Connections of another listener, with TLS on them.
pub struct TlsListener {
    inner: Listener,
    acceptor: TlsAcceptor,
}

/// A connection that speaks TLS.
pub struct TlsStream(State);

enum State {
    Handshake(tokio_rustls::Accept<Stream>),
    Ready(tokio_rustls::server::TlsStream<Stream>),
}

// === impl TlsListener ===

impl TlsListener {
    /// Puts TLS on what `inner` accepts.
    #[must_use]
    pub fn new(inner: Listener, config: Arc<rustls::ServerConfig>) -> Self {
        Self { inner, acceptor: TlsAcceptor::from(config) }
    }
}

impl Accept for TlsListener {
    type Io = TlsStream;

    async fn accept(&mut self) -> io::Result<(TlsStream, Peer)> {
        let (stream, peer) = self.inner.accept().await?;
        Ok((TlsStream(State::Handshake(self.acceptor.accept(stream))), peer))
    }
}

// === impl TlsStream ===

impl TlsStream {
    /// The stream behind the handshake, once that is over.
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut tokio_rustls::server::TlsStream<Stream>>>> {
        if let State::Handshake(handshake) = &mut self.0 {
            let stream = ready!(Pin::new(handshake).poll(cx))?;
            self.0 = State::Ready(stream);
        }
        match &mut self.0 {
            State::Ready(stream) => Poll::Ready(Ok(Pin::new(stream))),
            State::Handshake(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx))?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            // Nothing was said yet, so there is nothing to end.
            State::Handshake(_) => Poll::Ready(Ok(())),
            State::Ready(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
