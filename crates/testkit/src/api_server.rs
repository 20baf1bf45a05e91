//! The engine's API over TLS on a free port, with a kubeconfig of its own: what kubectl sees of an engine.

use std::{net::SocketAddr, path::PathBuf, process::Output, sync::Arc};

use anyhow::{Context, Result};
use hyper_util::service::TowerToHyperService;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;
use tm_engine::{
    api::{Api, Options, User, auth::Token, tls},
    kubeconfig,
};
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::fake_node::FakeNode;

/// Who requests over TLS come from.
pub const USER: &str = "tester";

/// A running API server.
pub struct ApiServer {
    /// The API itself.
    pub api: Api,
    /// Its node.
    pub node: Arc<FakeNode>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The token it wants.
    pub token: Token,
    /// PEM of the authority that vouches for it.
    pub authority: String,
    dir: TempDir,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts one in a temporary directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start() -> Result<Self> {
        Self::start_in(tempfile::tempdir()?).await
    }

    async fn start_in(dir: TempDir) -> Result<Self> {
        let state = dir.path().join("state");
        let api = Api::open(Options { state_dir: state.clone() }).await?;
        let node = Arc::new(FakeNode::default());
        api.set_node(Arc::clone(&node) as _);
        let identity = tls::Identity::load_or_make(&state)?;
        let token = Token::load_or_make(&state)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let listener = tls::TlsListener::new(listener.into(), identity.server_config()?);
        let router = api.router_with_token(User(USER.into()), token.clone());
        let stop = CancellationToken::new();
        let options = tm_serve::Options::default();
        let service = move |_: &tm_serve::Peer| TowerToHyperService::new(router.clone());
        let serving = tm_serve::serve(listener, service, options, stop.clone());
        let serving = tokio::spawn(async move {
            serving.await;
        });
        let authority = identity.authority().to_owned();
        let entry = kubeconfig::Entry {
            server: format!("https://{address}"),
            authority: authority.clone(),
            token: token.clone(),
        };
        kubeconfig::install(&dir.path().join("kubeconfig"), &entry)?;
        Ok(Self { api, node, address, token, authority, dir, stop, serving: Some(serving) })
    }

    /// Stops it and starts it again on the same state.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub async fn restart(mut self) -> Result<Self> {
        self.api.stop().await;
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            serving.await?;
        }
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir()?);
        drop(self);
        Self::start_in(dir).await
    }

    /// The kubeconfig with the server's entry.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// A folder for a test's files.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A client that goes over TLS, as kubectl does.
    ///
    /// # Errors
    /// When the kubeconfig is not usable.
    pub async fn tls_client(&self) -> Result<kube::Client> {
        let config = Kubeconfig::read_from(self.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Runs kubectl, with `input` on its standard input.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn kubectl(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut child = Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has an input")?;
        // kubectl may not read what it does not need.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        Ok(child.wait_with_output().await?)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}
