//! The engine put together: listeners, API, registry, runner, controllers, ingress, in the order in which they start and,
//! backwards, in which they end.

mod binaries;
mod kubectl;
mod lock;
mod log;
mod publish;
mod runners;
mod settings;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use fs_err as fs;
use tm_serve::{Listener, Options as ServeOptions, Peer};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use lock::{Lock, LockError, Running, running};
pub use settings::{IsolationKind, RunnerKind, Settings, VERSION};

use crate::{
    api::{self, Api, OpenError, User},
    autoscaler::Autoscaler,
    controllers::{self, Context, Domain, Pings, Post},
    events,
    ingress::{Ingress, Table, follow},
    paths::{Paths, PathsError},
    registry::{self, Storage, StorageError},
    runner::{
        collect,
        docker::DockerError,
        image::ImageStore,
        kubelet::{Kubelet, Parts},
        process::IsolationError,
    },
};

/// Threads of the engine: it waits far more than it computes.
const WORKER_THREADS: usize = 2;
/// Longest wait for everything to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Why the engine does not run. Each names what the user can do something about.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No folders.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// Another engine runs, or the lock cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state cannot be opened.
    #[error("failed to open the engine's state in `{folder}`")]
    State {
        /// The state folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The registry's folder cannot be opened.
    #[error("failed to open the engine's registry")]
    Registry(#[from] StorageError),
    /// An address is taken.
    #[error("failed to listen on {address} for {what}")]
    Bind {
        /// `functions`, `the registry`…
        what: &'static str,
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The engine's own objects cannot be written.
    #[error("failed to write the engine's configuration")]
    Publish(#[source] Box<kube::Error>),
    /// Containers cannot be kept apart as asked for.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// Docker cannot run containers for us.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// kubectl cannot be let in.
    #[error("failed to set up the access for kubectl")]
    Kubectl(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The runtime or a signal handler cannot be made.
    #[error("failed to start the engine's runtime")]
    Runtime(#[source] std::io::Error),
}

/// Runs the engine until SIGTERM or SIGINT. Its log goes to stderr.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let name = std::iter::once(OsString::from("tm engine"));
    let settings = match Settings::try_parse_from(name.chain(args)) {
        Ok(settings) => settings,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("TM_LOG").unwrap_or_else(|_| "info,kube=warn".into());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    match Paths::from_env() {
        Ok(paths) => logs.with_writer(log::Log::to(paths.log())).init(),
        // It is said below why there are no folders.
        Err(_) => logs.with_writer(std::io::stderr).init(),
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(error) => Err(EngineError::Runtime(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// The last line of the log, which the command that started the engine shows: `tm engine: reason: cause`.
fn tell(error: &dyn std::error::Error) {
    use std::io::Write;
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "tm engine: {line}");
}

/// The listeners, bound before anything else is done: a taken port must leave nothing half-started.
struct Listeners {
    functions: TcpListener,
    registry: TcpListener,
    api: TcpListener,
    socket: UnixListener,
}

async fn run(settings: Settings) -> Result<(), EngineError> {
    let begun = tokio::time::Instant::now();
    let paths = Paths::from_env()?;
    paths.create()?;
    let lock = Lock::take(&paths)?;
    let listeners = bind(&settings, &paths).await?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(EngineError::Runtime);
    let running = Running {
        pid: std::process::id(),
        version: VERSION.into(),
        functions: address(&listeners.functions)?,
        registry: address(&listeners.registry)?,
        api: address(&listeners.api)?,
        isolation: String::new(),
    };
    let engine = Engine::start(&settings, &paths, listeners, &running).await?;
    lock.write(&Running { isolation: engine.isolation.clone(), ..running })?;
    tracing::info!(elapsed = ?begun.elapsed(), "the engine is ready");
    wait_for_signal().await.map_err(EngineError::Runtime)?;
    engine.stop().await;
    let _ = fs::remove_file(paths.socket());
    drop(lock);
    Ok(())
}

async fn bind(settings: &Settings, paths: &Paths) -> Result<Listeners, EngineError> {
    let functions = tcp("functions", &settings.http_listen).await?;
    let registry = tcp("the registry", &settings.registry_listen).await?;
    let api = tcp("the Kubernetes API", &settings.api_listen).await?;
    let path = paths.socket();
    // The lock is ours: a socket that is there belongs to nobody.
    let _ = fs::remove_file(&path);
    let failed = |source| EngineError::Bind { what: "tm", address: path.display().to_string(), source };
    let socket = UnixListener::bind(&path).map_err(failed)?;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
    Ok(Listeners { functions, registry, api, socket })
}

async fn tcp(what: &'static str, address: &SocketAddr) -> Result<TcpListener, EngineError> {
    let failed = |source| EngineError::Bind { what, address: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

async fn wait_for_signal() -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// What runs, in the order in which it ends: what takes work, what does it, and last the API both talk through.
struct Engine {
    api: Api,
    intake: Stage,
    node: Stage,
    events: Stage,
    listeners: Stage,
    isolation: String,
}

/// Tasks that end together.
#[derive(Default)]
struct Stage {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

// === impl Engine ===

impl Engine {
    async fn start(
        settings: &Settings,
        paths: &Paths,
        listeners: Listeners,
        running: &Running,
    ) -> Result<Self, EngineError> {
        binaries::link(paths).map_err(|error| EngineError::Paths(PathsError::Create(error)))?;
        // None of these needs another, and all wait for the disk or for other processes.
        let (api, storage, access, process, ()) = tokio::try_join!(
            open_api(paths),
            blocking({
                let folder = paths.registry();
                move || Ok(Storage::open(folder)?)
            }),
            blocking({
                let (paths, running) = (paths.clone(), running.clone());
                move || kubectl::open(&paths, &running)
            }),
            runners::process(settings, paths),
            blocking({
                let pods = paths.pods();
                move || {
                    sweep(&pods);
                    Ok(())
                }
            }),
        )?;
        let client = api.client("default");
        // Its tasks end with this function when something below fails.
        let (mut intake, mut node, mut served) = (Stage::default(), Stage::default(), Stage::default());
        let registry = listeners.registry;
        intake.run(|stop| serve_registry(storage.clone(), registry, stop));
        let chosen = runners::choose(settings, paths, running, &storage, process).await?;
        let kind = chosen.runner.isolation_kind();
        publish::write(&client, running, &settings.domain, chosen.images, kind)
            .await
            .map_err(|e| EngineError::Publish(Box::new(e)))?;
        let images = Arc::new(ImageStore::new(storage.clone(), paths.layers(), client.clone()));
        images.add_own_address(running.registry.to_string());
        let isolation = chosen.runner.isolation();
        let (recorder, writer) = events::recorder();
        let mut told = Stage::default();
        told.run(|stop| writer.run(client.clone(), stop));
        let parts = Parts { runner: chosen.runner, images: Arc::clone(&images), events: recorder.clone() };
        let kubelet = Kubelet::new(client.clone(), parts, paths.clone())
            .map_err(|error| EngineError::Paths(PathsError::Create(error)))?;
        api.set_node(Arc::clone(&kubelet) as _);
        let tidied = |error| EngineError::Publish(Box::new(error));
        kubelet.recover().await.map_err(tidied)?;
        collect::run(&client, storage.clone(), &paths.layers()).await.map_err(tidied)?;

        let (autoscaler, wishes) = Autoscaler::new();
        let table = Arc::new(Table::default());
        let domain = Domain { name: settings.domain.clone(), port: running.functions.port() };
        let context = Context {
            client: client.clone(),
            images,
            autoscaler: Arc::clone(&autoscaler),
            pings: Pings::new(Post::new(running.functions, domain.clone()), recorder.clone()),
            events: recorder,
            domain,
            began: jiff::Timestamp::now(),
        };

        node.run(|stop| kubelet.run(stop));
        served.run(|stop| serve_api(api.clone(), listeners.socket, stop));
        served.run(|stop| kubectl::serve(api.clone(), listeners.api, access, stop));
        intake.run(|stop| controllers::run(Arc::new(context), wishes, stop));
        intake.run(|stop| Arc::clone(&autoscaler).run(stop));
        intake.run(|stop| follow(client, Arc::clone(&table), Arc::clone(&autoscaler), stop));
        let ingress = Ingress::new(table, autoscaler);
        intake.run(|stop| ingress.serve(Listener::Tcp(listeners.functions), stop));
        Ok(Self { api, intake, node, events: told, listeners: served, isolation })
    }

    async fn stop(mut self) {
        tracing::info!("the engine stops");
        self.intake.end("intake").await;
        self.node.end("node").await;
        self.events.end("events").await;
        // Ends watches and execs, which would keep the listeners from draining.
        if timeout(STOP_LIMIT, self.api.stop()).await.is_err() {
            tracing::error!("the API did not end in time");
        }
        self.listeners.end("listeners").await;
    }
}

// === impl Stage ===

impl Stage {
    fn run<F>(&mut self, make: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(make(self.stop.clone()));
    }

    async fn end(&mut self, what: &str) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_LIMIT, all).await.is_err() {
            tracing::error!(what, "tasks did not end in time");
        }
    }
}

async fn open_api(paths: &Paths) -> Result<Api, EngineError> {
    let options = api::Options { state_dir: paths.state.clone() };
    Api::open(options).await.map_err(|source| EngineError::State { folder: paths.state.clone(), source })
}

/// Runs what blocks beside everything else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| EngineError::Runtime(std::io::Error::other(error)))?
}

/// Ends what an engine that was killed left. Nothing of this engine's runs yet.
fn sweep(pods: &Path) {
    let left = crate::sandbox::sweep(pods);
    if left > 0 {
        tracing::info!(left, "ended what was left of an earlier engine's containers");
    }
}

async fn serve_api(api: Api, socket: UnixListener, stop: CancellationToken) {
    let router = api.router(User("tm".into()));
    let service = move |_: &Peer| hyper_util::service::TowerToHyperService::new(router.clone());
    tm_serve::serve(Listener::Unix(socket), service, ServeOptions::default(), stop).await;
}

async fn serve_registry(storage: Storage, listener: TcpListener, stop: CancellationToken) {
    let router = registry::router(storage);
    let service = move |_: &Peer| hyper_util::service::TowerToHyperService::new(router.clone());
    tm_serve::serve(Listener::Tcp(listener), service, ServeOptions::default(), stop).await;
}
