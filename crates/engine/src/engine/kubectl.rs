//! The way in for kubectl: TLS on loopback with a token, and a context `tm-local` in the user's kubeconfig.
//!
//! The context stays when the engine stops, as kind's and minikube's do: certificate and token outlive a restart.

use tm_serve::{Listener, Options, Peer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{EngineError, lock::Running};
use crate::{
    api::{
        Api, User,
        auth::Token,
        tls::{Identity, TlsListener},
    },
    kubeconfig::{self, Entry},
    paths::Paths,
};

/// Who kubectl is, in annotations of what it makes.
const USER: &str = "kubernetes-admin";

/// What the listener needs.
pub(super) struct Access {
    identity: Identity,
    token: Token,
}

/// Loads or makes certificate and token and writes the context. A kubeconfig that cannot be written only costs kubectl.
pub(super) fn open(paths: &Paths, running: &Running) -> Result<Access, EngineError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| EngineError::Kubectl(error);
    let identity = Identity::load_or_make(&paths.state).map_err(|error| failed(error.into()))?;
    let token = Token::load_or_make(&paths.state).map_err(|error| failed(error.into()))?;
    let entry = Entry {
        server: format!("https://{}", running.api),
        authority: identity.authority().to_owned(),
        token: token.clone(),
    };
    let written = kubeconfig::default_path().and_then(|path| kubeconfig::install(&path, &entry));
    if let Err(error) = written {
        tracing::warn!(error = &error as &dyn std::error::Error, "kubectl gets no context `tm-local`");
    }
    Ok(Access { identity, token })
}

/// Serves kubectl until `stop`.
pub(super) async fn serve(api: Api, listener: TcpListener, access: Access, stop: CancellationToken) {
    let config = match access.identity.server_config() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "kubectl is not served");
            return;
        }
    };
    let router = api.router_with_token(User(USER.into()), access.token);
    let service = move |_: &Peer| hyper_util::service::TowerToHyperService::new(router.clone());
    let listener = TlsListener::new(Listener::Tcp(listener), config);
    tm_serve::serve(listener, service, Options::default(), stop).await;
}
