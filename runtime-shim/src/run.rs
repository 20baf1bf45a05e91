//! The story from start to end: bind, first init, serve, drain, stop.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tm_serve::{Drained, Tasks};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, SharedAddress};
use crate::front::Front;
use crate::logs::Sink;
use crate::metrics::Metrics;
use crate::process::Launcher;
use crate::process::children::Children;
use crate::process::extensions::has_extensions;
use crate::queue::Queue;
use crate::runtime_api::SharedApi;
use crate::signals::{self, Stop};
use crate::worker::Shared;
use crate::{front, hosts, metrics, pool};

/// Why the shim could not serve, or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The port of the front cannot be had.
    #[error("failed to listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    /// The file for the port cannot be written.
    #[error("failed to write the port to {path}")]
    PortFile { path: String, source: io::Error },
    /// The machine refused something at the start.
    #[error("failed to set up {what}")]
    Setup { what: &'static str, source: io::Error },
    /// A second signal came before the end.
    #[error("aborted by a second signal")]
    Aborted,
}

/// How long stdout may take for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long workers may take to end after they were told to.
const WORKERS_END: Duration = Duration::from_secs(10);

/// Connections that the kernel keeps while all of ours are busy.
const BACKLOG: u32 = 1024;

/// Serves until a signal.
pub(crate) async fn run(config: Config) -> Result<(), RunError> {
    let config = Arc::new(config);
    let tasks = Tasks::new();
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let signals = Stop::listen().map_err(|source| RunError::Setup { what: "signal handlers", source })?;
    tasks.spawn("signals", signals.run(stop.clone(), abort.clone()));
    let children = Children::new();
    let reaper = signals::reap(Arc::clone(&children));
    tasks.spawn("reaper", reaper.map_err(|source| RunError::Setup { what: "the reaper", source })?);
    let (sink, closing) =
        Sink::start(io::stdout()).map_err(|source| RunError::Setup { what: "the log thread", source })?;

    let result = serve(Arc::clone(&config), Arc::clone(&children), sink, stop, abort.clone()).await;

    children.end_strays(|_| true).await;
    closing.wait(LAST_LINES).await;
    result.and(if abort.is_cancelled() { Err(RunError::Aborted) } else { Ok(()) })
}

/// Binds the front, runs the workers behind it, and ends both.
async fn serve(
    config: Arc<Config>,
    children: Arc<Children>,
    sink: Sink,
    stop: CancellationToken,
    abort: CancellationToken,
) -> Result<(), RunError> {
    // The port is taken now, so that a taken one is an error now; it answers only when the first init has ended.
    let socket = bind(config.front.address)?;
    let metrics = Arc::new(Metrics::new());
    let queue = Arc::new(Queue::new(config.queue_length, config.function_timeout, Arc::clone(&metrics)));
    if has_extensions(&config.launch) {
        hosts::name_the_sandbox(Path::new("/etc/hosts"));
    }
    let launcher = Launcher::new(config.launch.clone(), &config.function, children);
    let tasks = Tasks::new();
    let api = match config.shared_api {
        Some(address) => shared_api(address, &tasks).await?,
        None => None,
    };
    if let Some(port) = config.metrics_port {
        let address = SocketAddr::new(config.front.address.ip(), port);
        // Nobody's requests should fail for want of figures.
        if let Err(error) = metrics::serve(address, Arc::clone(&metrics), Arc::clone(&queue), &tasks).await {
            tracing::warn!(%address, %error, "no metrics: failed to listen");
        }
    }
    let shared = Shared::new(Arc::clone(&config), Arc::clone(&queue), launcher, sink, api, metrics);
    let shared = Arc::new(shared);
    let (initialised_tx, initialised_rx) = oneshot::channel();
    let workers = tasks.spawn("workers", pool::run(Arc::clone(&shared), initialised_tx));

    // Told to stop during the init: nothing was promised to anybody yet.
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = initialised_rx => {}
    }
    // One drain time for callers and workers, from the signal on.
    let stopped = async {
        stop.cancelled().await;
        Ok(Instant::now())
    };
    let opened = async {
        if stop.is_cancelled() { Ok(()) } else { open(&config, queue, socket, &stop, &abort).await }
    };
    let result = tokio::try_join!(opened, stopped);
    let drained_by = result.as_ref().map_or_else(|_| Instant::now(), |((), at)| *at) + config.drain_timeout;
    end_workers(&shared, workers, drained_by, &abort).await;
    let lost = shared.queue.abandon();
    if lost > 0 {
        tracing::warn!(lost, "asynchronous events were not run before the end");
    }
    tasks.join(Duration::from_millis(100)).await;
    result.map(|_| ())
}

/// One Runtime API for all workers, at the address that was asked for. One that nobody asked for need not be there.
async fn shared_api(shared: SharedAddress, tasks: &Tasks) -> Result<Option<Arc<SharedApi>>, RunError> {
    let SharedAddress { address, beside } = shared;
    match SharedApi::serve(shared, tasks).await {
        Ok(api) => Ok(Some(api)),
        Err(error) if beside => {
            tracing::info!(%address, %error, "no Runtime API at the usual port");
            Ok(None)
        }
        Err(source) => Err(RunError::Listen { address, source }),
    }
}

/// Accepts requests until the signal, then finishes those that are there.
async fn open(
    config: &Arc<Config>,
    queue: Arc<Queue>,
    socket: TcpSocket,
    stop: &CancellationToken,
    abort: &CancellationToken,
) -> Result<(), RunError> {
    let address = config.front.address;
    let listener = socket.listen(BACKLOG).map_err(|source| RunError::Listen { address, source })?;
    announce(&listener, config.front.port_file.as_deref())?;
    let front = front::serve(Arc::new(Front::new(Arc::clone(config), queue)), listener, stop.clone());
    tokio::select! {
        drained = front => if let Drained::Cut(connections) = drained {
            tracing::warn!(connections, "the drain time was over");
        },
        () = abort.cancelled() => {}
    }
    Ok(())
}

/// Lets the workers finish what has no caller any more, then stops them.
async fn end_workers(
    shared: &Shared,
    workers: tokio::task::JoinHandle<Option<()>>,
    drained_by: Instant,
    abort: &CancellationToken,
) {
    let mut workers = workers;
    shared.drain.cancel();
    tokio::select! {
        _ = &mut workers => return,
        () = abort.cancelled() => {}
        () = tokio::time::sleep_until(drained_by) => {}
    }
    shared.halt.cancel();
    if tokio::time::timeout(WORKERS_END, workers).await.is_err() {
        tracing::error!("workers did not end");
    }
}

fn bind(address: SocketAddr) -> Result<TcpSocket, RunError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the connections of the run before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    bind().map_err(|source| RunError::Listen { address, source })
}

/// Says which port it is, for those who asked for any.
fn announce(listener: &TcpListener, port_file: Option<&Path>) -> Result<(), RunError> {
    let address = listener.local_addr().map_err(|source| RunError::Setup { what: "the listener", source })?;
    tracing::info!(%address, "serving");
    let Some(path) = port_file else { return Ok(()) };
    // Renamed into place, so that nobody reads half a number.
    let part = path.with_extension("part");
    std::fs::write(&part, format!("{}\n", address.port()))
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|source| RunError::PortFile { path: path.display().to_string(), source })
}
