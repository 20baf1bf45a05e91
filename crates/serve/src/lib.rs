//! Accept loop, limits, drain and Unix sockets over hyper.
//!
//! Three layers, each usable alone: [`accept_loop`] owns the connections of one listener, [`connection`] speaks HTTP/1.1
//! on one of them, and [`serve`] is both put together. [`Tasks`] owns spawned tasks and joins them with a deadline.
//! The shim's front and Runtime API and all of the engine's listeners stand on these.

mod accept;
mod connection;
mod listener;
mod stall;
mod tasks;

use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::service::HttpService;
use tokio_util::sync::CancellationToken;

pub use accept::{AcceptOptions, accept_loop};
pub use connection::{Http1, connection};
pub use listener::{Accept, Listener, Peer, Stream};
pub use tasks::{Drained, Tasks};

/// How a listener is served.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How connections are taken and let go.
    pub accept: AcceptOptions,
    /// How HTTP is spoken on them.
    pub http1: Http1,
}

/// Serves HTTP/1.1 on `listener` until `shutdown`, then drains: no new connections, idle ones are closed, running
/// requests finish within `options.accept.drain_timeout`, the rest is cut.
///
/// `service` makes one service per connection and is told who is on the other end. Upgrades work.
///
/// # Cancel safety
///
/// Dropping the future cuts all connections.
pub async fn serve<L, M, S, B>(
    listener: L,
    service: M,
    options: Options,
    shutdown: CancellationToken,
) -> Drained
where
    L: Accept,
    M: Fn(&Peer) -> S,
    S: HttpService<Incoming, ResBody = B, Future: Send> + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data: Send> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let http1 = options.http1.clone();
    let stop = shutdown.clone();
    let handle = move |io, peer: Peer| connection(io, service(&peer), http1.clone(), stop.clone());
    accept_loop(listener, options.accept, shutdown, handle).await
}

// === impl Options ===

impl Options {
    /// The same, with another drain time.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.accept.drain_timeout = timeout;
        self
    }
}
