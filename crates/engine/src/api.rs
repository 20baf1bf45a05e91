//! The Kubernetes API of this machine: REST over the store.
//!
//! kubectl (TLS), the CLI (Unix socket) and our own controllers (in process) all reach the same [`axum::Router`].
//! A request is parsed into a target (`path`), decoded (`body`), checked and filled in (`admission`), written
//! (`write`, `delete`) or read (`read`, `watch`), and rendered the way the client asked for (`render`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use axum::Router;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    node::SharedNode,
    store::{OpenStoreError, Store, WriteError},
};

mod admission;
pub mod auth;
mod body;
mod bootstrap;
pub mod catalog;
mod client;
mod container;
mod delete;
mod discovery;
mod dispatch;
mod error;
mod exec;
mod fields;
mod gc;
mod logs;
mod managed;
mod names;
mod object;
mod openapi;
mod patch;
mod path;
mod protobuf;
mod query;
mod read;
mod render;
mod review;
mod schema;
mod selector;
mod table;
pub mod tls;
mod watch;
mod write;

pub use error::ApiError;

/// Name of the one node: pods are bound to it as soon as they are created.
pub const NODE_NAME: &str = "tm-local";
/// Name of the store's file in the state directory.
const STORE_FILE: &str = "store.redb";

/// The API server, independent of any listener. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    node: OnceLock<SharedNode>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// Where the API keeps its state.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the store file; made when it is not there.
    pub state_dir: PathBuf,
}

/// Who a request comes from: what the `creator` annotation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(pub String);

/// Why the API could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory cannot be made.
    #[error("cannot make the state directory")]
    StateDir(#[source] std::io::Error),
    /// The store cannot be opened.
    #[error("cannot open the engine's store")]
    Store(#[from] OpenStoreError),
    /// The thread that opened it came to a bad end.
    #[error("the store was not opened to the end")]
    Ended(#[from] tokio::task::JoinError),
    /// The objects every cluster has cannot be written.
    #[error("cannot write the first objects")]
    Bootstrap(#[from] WriteError),
}

// === impl Api ===

/// The last handle ends the background work, too.
impl Drop for Inner {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl Api {
    /// Opens the store and makes the objects every cluster has.
    ///
    /// # Errors
    /// [`OpenError`] when the state cannot be read or written.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        // On a thread of its own: it waits for the disk.
        let store = tokio::task::spawn_blocking(move || open_store(&options.state_dir)).await??;
        bootstrap::run(&store).await?;
        let inner = Inner {
            store,
            node: OnceLock::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        inner.tasks.spawn(gc::run(inner.store.clone(), inner.stopping.clone()));
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says who holds the containers. Only the first call counts; before it, logs and exec answer that no node is there.
    pub fn set_node(&self, node: SharedNode) {
        if self.inner.node.set(node).is_err() {
            tracing::warn!("the API has a node already");
        }
    }

    /// The store behind the API.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The HTTP service. Callers it is reachable by without a token must be trusted: they are `user`.
    pub fn router(&self, user: User) -> Router {
        dispatch::router(self.clone(), user)
    }

    /// The same for callers that must send the token: anything that can be reached by other users of the machine.
    pub fn router_with_token(&self, user: User, token: auth::Token) -> Router {
        self.router(user).layer(axum::middleware::from_fn_with_state(token, auth::require))
    }

    /// A client in this process; no socket is involved. Must be called inside a tokio runtime.
    #[must_use]
    pub fn client(&self, default_namespace: &str) -> kube::Client {
        client::in_process(self, default_namespace)
    }

    /// Ends watches, commands and background work, waits for them, and closes the store.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.store.close().await;
    }

    /// Who holds the containers.
    pub(crate) fn node(&self) -> Result<&SharedNode, ApiError> {
        let missing = || ApiError::new(503, "ServiceUnavailable", "no node is ready to answer");
        self.inner.node.get().ok_or_else(missing)
    }

    /// Where the API's own tasks are counted.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Cancelled when the API stops: what streams end by.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stopping
    }
}

fn open_store(dir: &Path) -> Result<Store, OpenError> {
    fs_err::create_dir_all(dir).map_err(OpenError::StateDir)?;
    Ok(Store::open(&dir.join(STORE_FILE))?)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
