//! The accept loop: takes connections up to a limit, owns their tasks, drains them at the end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::listener::{Accept, Peer};
use crate::tasks::{Drained, Tasks};

/// How connections are taken and let go.
#[derive(Clone, Debug)]
pub struct AcceptOptions {
    /// Most connections at a time; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Longest wait for running connections after the shutdown; then they are cut.
    pub drain_timeout: Duration,
}

/// Accepts until `shutdown` and runs `handle` for each connection. The future resolves when all are gone.
///
/// `handle` is expected to end by itself soon after `shutdown`; what does not is cut after the drain time. A failed
/// accept (out of descriptors, say) is logged and tried again a little later.
///
/// # Cancel safety
///
/// Dropping the future cuts all connections.
pub async fn accept_loop<L, H, F>(
    mut listener: L,
    options: AcceptOptions,
    shutdown: CancellationToken,
    handle: H,
) -> Drained
where
    L: Accept,
    H: Fn(L::Io, Peer) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let limit = Arc::new(Semaphore::new(options.max_connections));
    let tasks = Tasks::new();
    loop {
        // The shutdown wins over new connections: a busy listener must not keep us here.
        let next = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = one_more(&mut listener, &limit) => next,
        };
        if let Some((io, peer, permit)) = next {
            let connection = handle(io, peer);
            tasks.spawn("connection", async move {
                connection.await;
                drop(permit);
            });
        }
    }
    drop(listener);
    tasks.join(options.drain_timeout).await
}

/// Waits for room, then for a connection. `None` after a failed accept, when the wait that follows it is over.
async fn one_more<L: Accept>(
    listener: &mut L,
    limit: &Arc<Semaphore>,
) -> Option<(L::Io, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(limit).acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((io, peer)) => Some((io, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "failed to accept a connection");
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            None
        }
    }
}

/// Long enough for a descriptor to become free, short enough to go unnoticed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

impl Default for AcceptOptions {
    fn default() -> Self {
        Self { max_connections: 1024, drain_timeout: Duration::from_secs(30) }
    }
}
