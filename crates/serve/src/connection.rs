//! HTTP/1.1 on one connection, with the limits every listener wants and a graceful end.

use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::stall::Stalling;

/// How HTTP/1.1 is spoken.
#[derive(Clone, Debug)]
pub struct Http1 {
    /// Writes `Content-Length` instead of `content-length`: some Lambda clients compare names case by case.
    pub title_case_headers: bool,
    /// Longest time for a request's head, idle keep-alive time included; `None` for clients that may be quiet for hours.
    pub header_read_timeout: Option<Duration>,
    /// Longest time without progress while bytes wait for a peer that does not read; then the connection is cut. `None` for
    /// peers that may take as long as they like.
    pub write_stall_timeout: Option<Duration>,
    /// Answers peers that close their sending side behind a request, as Go's servers do. Where it is off, that is a peer that
    /// left: the service's future is dropped, also before it was first polled. Where it is on, nobody is seen to leave while
    /// the service works.
    pub half_close: bool,
    /// Most bytes of a request's head, and of a trailer section.
    pub max_header_bytes: usize,
    /// Most header fields of a request.
    pub max_headers: usize,
}

/// Serves `service` on `io` until the peer leaves or `shutdown` comes; then the running request finishes and the
/// connection is closed. Upgraded connections are the service's own from there on.
///
/// # Cancel safety
///
/// Dropping the future cuts the connection.
pub async fn connection<I, S, B>(io: I, service: S, options: Http1, shutdown: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(Stalling::new(io, options.write_stall_timeout));
    let connection = options.builder().serve_connection(io, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // Peers leave in the middle of things all the time; nobody here can do anything about it.
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}

// === impl Http1 ===

impl Http1 {
    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            .timer(TokioTimer::new())
            .title_case_headers(self.title_case_headers)
            .header_read_timeout(self.header_read_timeout)
            .half_close(self.half_close)
            .max_headers(self.max_headers)
            .max_header_size(self.max_header_bytes)
            // The read buffer holds a whole head; it grows on demand only.
            .max_buf_size(self.max_header_bytes.max(MIN_BUFFER));
        builder
    }
}

/// hyper's own default, so that a small header limit does not make bodies slow.
const MIN_BUFFER: usize = 8192 + 4096 * 100;

impl Default for Http1 {
    fn default() -> Self {
        Self {
            title_case_headers: false,
            // Longer than the idle times of common proxies (Go's is 90 s), so that they close idle connections first
            // and no request is lost to a connection that is just being closed.
            header_read_timeout: Some(Duration::from_secs(120)),
            write_stall_timeout: None,
            half_close: false,
            max_header_bytes: 64 * 1024,
            max_headers: 128,
        }
    }
}
