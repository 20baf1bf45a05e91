//! The way in: Host to Route, Route to Revision by share or tag, Revision to a pod.
//!
//! `NAME.NAMESPACE.anything` and `TAG-NAME.NAMESPACE.anything` name a function; the rest of the host does not matter, so
//! `curl -H "Host: hello.default.example.com"` works as well as the address tm prints. Requests wait at the Revision's
//! [`Gate`](crate::autoscaler::Gate) while a pod is started.

mod forward;
mod table;
mod watch;

use std::sync::Arc;

use futures::FutureExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tm_serve::{Listener, Options, Peer};
use tokio_util::sync::CancellationToken;

pub use table::Table;
pub(crate) use watch::follow;

use crate::autoscaler::{Autoscaler, EnterError};

/// Body of an answer: ours or the function's.
pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// The ingress. Cheap to share.
pub struct Ingress {
    table: Arc<Table>,
    autoscaler: Arc<Autoscaler>,
    client: Client<HttpConnector, forward::Payload>,
}

/// Why a request got no answer from a function, and what the caller is told.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no function answers to the host {0:?}; addresses are NAME.NAMESPACE.localhost")]
    NoRoute(String),
    #[error("the request has no Host header")]
    NoHost,
    #[error("function {0:?} has no ready revision")]
    NotReady(String),
    #[error(transparent)]
    Gate(#[from] EnterError),
    #[error("the function did not answer within {0} seconds")]
    TimedOut(u64),
    #[error("the function's process ended before it answered")]
    Broken(#[source] hyper_util::client::legacy::Error),
    #[error("the request broke off")]
    Request(#[source] hyper::Error),
}

// === impl Ingress ===

impl Ingress {
    /// An ingress over what the watchers put into `table`.
    pub fn new(table: Arc<Table>, autoscaler: Arc<Autoscaler>) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Arc::new(Self { table, autoscaler, client })
    }

    /// Serves until `stop`, then lets running requests finish.
    pub async fn serve(self: Arc<Self>, listener: Listener, stop: CancellationToken) {
        let service = move |peer: &Peer| {
            let (ingress, peer) = (Arc::clone(&self), *peer);
            hyper::service::service_fn(move |request| {
                let ingress = Arc::clone(&ingress);
                async move { Ok::<_, std::convert::Infallible>(ingress.answer(request, &peer).await) }.boxed()
            })
        };
        tm_serve::serve(listener, service, Options::default(), stop).await;
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        match self.send(request, peer).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        }
    }

    async fn send(&self, request: Request<Incoming>, peer: &Peer) -> Result<Response<Body>, Refused> {
        let host = host_of(&request).ok_or(Refused::NoHost)?;
        let revision = match self.table.find(&host).await {
            Some(Ok(revision)) => revision,
            Some(Err(table::NotReady)) => return Err(Refused::NotReady(host)),
            None => return Err(Refused::NoRoute(host)),
        };
        let gate = self.autoscaler.gate(&revision);
        forward::send(&self.client, &gate, request, peer).await
    }
}

/// The host a request is for: the header, else the authority of an absolute request line.
fn host_of<B>(request: &Request<B>) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().host()).map(str::to_ascii_lowercase)
}

// === impl Refused ===

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::NoHost | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::NotReady(_) | Self::Gate(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_GATEWAY,
        }
    }

    fn into_response(self) -> Response<Body> {
        tracing::debug!(error = &self as &dyn std::error::Error, "a request was not answered by a function");
        let text = format!("{self}\n");
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
        Response::builder()
            .status(self.status())
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(body)
            .expect("a response of constants is well formed")
    }
}
