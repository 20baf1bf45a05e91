//! Which API server this command talks to. The only place that knows there is more than one kind.
//!
//! Order, the first tm's: `--config`, `~/.tm/config.json`, `$KUBECONFIG`, `~/.kube/config`, the pod's own service account.
//! When none names a cluster, or the chosen context is `tm-local`, it is the embedded engine, which is started if need
//! be and reached through its Unix socket.

mod deadline;
pub(crate) mod engine;
pub(crate) mod persist;
pub(crate) mod published;
mod socket;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use tm_engine::{engine::running, paths::Paths};

use crate::{
    cli::Global,
    error::{HintExt, UsageError},
    printer::Printer,
};

/// Context of the embedded engine in kubeconfigs.
const ENGINE_CONTEXT: &str = "tm-local";

/// An API server and the namespace to work in.
pub(crate) struct Target {
    /// Client of the API.
    pub(crate) client: Client,
    /// Namespace.
    pub(crate) namespace: String,
}

/// What the configuration says, before anything is started.
enum Choice {
    Engine { namespace: Option<String> },
    Cluster(Box<Config>),
}

/// Connects, starting the engine when it is the target and not running.
pub(crate) async fn connect(global: &Global, printer: &Printer) -> Result<Target> {
    match choose(global).await? {
        Choice::Engine { namespace } => {
            let paths = Paths::from_env()?;
            engine::ensure_running(&paths, printer).await?;
            Ok(of_engine(&paths, global, namespace))
        }
        Choice::Cluster(config) => of_cluster(*config, global, printer),
    }
}

/// Connects to what is there already: `None` when the target is the engine and it does not run.
pub(crate) async fn connect_running(global: &Global, printer: &Printer) -> Result<Option<Target>> {
    match choose(global).await? {
        Choice::Engine { namespace } => {
            let paths = Paths::from_env()?;
            Ok(running(&paths)?.map(|_| of_engine(&paths, global, namespace)))
        }
        Choice::Cluster(config) => of_cluster(*config, global, printer).map(Some),
    }
}

fn of_engine(paths: &Paths, global: &Global, namespace: Option<String>) -> Target {
    let namespace = global.namespace.clone().or(namespace).unwrap_or_else(|| "default".into());
    Target { client: socket::client(&paths.socket(), &namespace), namespace }
}

fn of_cluster(mut config: Config, global: &Global, printer: &Printer) -> Result<Target> {
    // The default retries for minutes: a command would look hung.
    config.default_retry = false;
    let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    printer.debug(&format!("API server {}", config.cluster_url));
    let client = ClientBuilder::try_from(config).context("failed to make a client of the cluster")?;
    let client = client.with_layer(&deadline::DeadlineLayer).build();
    Ok(Target { client, namespace })
}

async fn choose(global: &Global) -> Result<Choice> {
    if global.context.as_deref() == Some(ENGINE_CONTEXT) {
        return Ok(Choice::Engine { namespace: None });
    }
    let Some(kubeconfig) = kubeconfig(global)? else {
        if let Some(context) = &global.context {
            return Err(UsageError(format!("there is no kubeconfig with a context `{context}`")).into());
        }
        return Ok(match Config::incluster() {
            Ok(config) => Choice::Cluster(Box::new(config)),
            Err(_) => Choice::Engine { namespace: None },
        });
    };
    let wanted = global.context.clone().or_else(|| kubeconfig.current_context.clone());
    let Some(name) = wanted.filter(|name| !name.is_empty()) else {
        return Ok(Choice::Engine { namespace: None });
    };
    if name == ENGINE_CONTEXT {
        let context = kubeconfig.contexts.iter().find(|context| context.name == name);
        let namespace = context.and_then(|context| context.context.as_ref()?.namespace.clone());
        return Ok(Choice::Engine { namespace });
    }
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("failed to use the kubeconfig's context `{name}`"))
        .hint("choose another context with --context, or the embedded engine with --context tm-local")?;
    Ok(Choice::Cluster(Box::new(config)))
}

/// The first kubeconfig there is.
fn kubeconfig(global: &Global) -> Result<Option<Kubeconfig>> {
    if let Some(path) = &global.config {
        return Ok(Some(read(path)?));
    }
    let home = std::env::home_dir();
    if let Some(path) = home.as_ref().map(|home| home.join(".tm/config.json")).filter(|path| path.is_file()) {
        return Ok(Some(read(&path)?));
    }
    if let Some(paths) = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        return several(std::env::split_paths(&paths).filter(|path| path.is_file()).collect());
    }
    let path = home.map(|home| home.join(".kube/config")).filter(|path| path.is_file());
    path.map(|path| read(&path)).transpose()
}

fn several(paths: Vec<PathBuf>) -> Result<Option<Kubeconfig>> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        let next = read(&path)?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).context("failed to merge the files of KUBECONFIG")?,
        });
    }
    Ok(merged)
}

fn read(path: &Path) -> Result<Kubeconfig> {
    Kubeconfig::read_from(path)
        .with_context(|| format!("failed to read the kubeconfig `{}`", path.display()))
        .hint("name another one with --config, or use the embedded engine with --context tm-local")
}
