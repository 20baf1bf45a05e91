//! One Runtime API port for all workers (`INTERNAL_API_PORT`), for images that hard-code it: instead of the workers' own, or
//! beside them where nobody asked for it and an image may still expect it.
//!
//! Which worker calls is seen from the connection: the kernel knows whose socket its other end is. That is looked up once
//! per connection, in `/proc`. With one worker there is nothing to look up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tm_lambda::api_error::ApiError;
use tm_serve::{Listener, Peer, Tasks};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Body};
use super::link::Link;
use crate::config::SharedAddress;
use crate::process::procfs;

/// The shared listener and the processes behind it.
#[derive(Debug)]
pub(crate) struct SharedApi {
    address: SocketAddr,
    beside: bool,
    /// By the leader of the process group.
    processes: Mutex<HashMap<i32, Process>>,
}

#[derive(Clone, Debug)]
struct Process {
    index: usize,
    link: Link,
}

/// A process's place here; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    api: Arc<SharedApi>,
    leader: i32,
}

/// A process may call before its start has been entered here; this is how long it may be ahead.
const RETRIES: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(5);

// === impl SharedApi ===

impl SharedApi {
    /// Binds the address and serves it on `tasks`.
    pub(crate) async fn serve(shared: SharedAddress, tasks: &Tasks) -> io::Result<Arc<Self>> {
        let SharedAddress { address, beside } = shared;
        let listener = TcpListener::bind(address).await?;
        let api = Arc::new(Self { address: listener.local_addr()?, beside, processes: Mutex::default() });
        let served = Arc::clone(&api);
        let service = move |peer: &Peer| {
            let (api, peer, link) = (Arc::clone(&served), *peer, Arc::new(OnceCell::new()));
            service_fn(move |request| handle(Arc::clone(&api), peer, Arc::clone(&link), request))
        };
        let shutdown = CancellationToken::new();
        let mut options = super::options();
        // Of all workers together.
        options.accept.max_connections = 4096;
        tasks.spawn("runtime api", tm_serve::serve(Listener::from(listener), service, options, shutdown));
        Ok(api)
    }

    /// Where it listens, if workers are to be told so.
    pub(crate) fn told(&self) -> Option<SocketAddr> {
        (!self.beside).then_some(self.address)
    }

    /// Enters the process group of `leader`, which serves worker `index`.
    pub(crate) fn enter(self: &Arc<Self>, leader: i32, index: usize, link: Link) -> Entry {
        self.lock().insert(leader, Process { index, link });
        Entry { api: Arc::clone(self), leader }
    }

    /// Whose connection it is.
    async fn resolve(self: &Arc<Self>, peer: Peer) -> Result<Link, ApiError> {
        for _ in 0..RETRIES {
            if let Some(link) = self.look_up(peer).await {
                return Ok(link);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        tracing::warn!(?peer, "no worker owns this connection to the Runtime API");
        Err(ApiError::Internal)
    }

    async fn look_up(self: &Arc<Self>, peer: Peer) -> Option<Link> {
        let processes = self.lock().clone();
        let mut indices = processes.values().map(|process| process.index);
        let first = indices.next()?;
        if indices.all(|index| index == first) {
            return processes.into_values().next().map(|process| process.link);
        }
        let Peer::Tcp { remote, local } = peer else { return None };
        let search = move || search(&processes, remote, local);
        tokio::task::spawn_blocking(search).await.ok().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By process group, which is what runtimes leave alone, else by the index they were started with.
fn search(processes: &HashMap<i32, Process>, remote: SocketAddr, local: SocketAddr) -> Option<Link> {
    let owners = procfs::owners_of_connection(remote, local);
    let by_group = owners.iter().find_map(|pid| processes.get(&procfs::group_of(*pid)?));
    let by_index = || {
        processes.values().find(|process| {
            let index = process.index.to_string();
            owners
                .iter()
                .any(|pid| procfs::has_variable(*pid, tm_lambda::environment::BOOTSTRAP_INDEX, &index))
        })
    };
    by_group.or_else(by_index).map(|process| process.link.clone())
}

async fn handle(
    api: Arc<SharedApi>,
    peer: Peer,
    link: Arc<OnceCell<Link>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    match link.get_or_try_init(|| api.resolve(peer)).await {
        Ok(link) => super::handle(link.clone(), request).await,
        Err(error) => Ok(answer::refused(&error)),
    }
}

// === impl Entry ===

impl Drop for Entry {
    fn drop(&mut self) {
        self.api.lock().remove(&self.leader);
    }
}
