//! The way in: Host to Route, Route to Revision by share or tag, Revision to a pod.
//!
//! `NAME.NAMESPACE.anything` and `TAG-NAME.NAMESPACE.anything` name a function; the rest of the host does not matter, so
//! `curl -H "Host: hello.default.example.com"` works as well as the address tm prints. Where the host is nobody's, a path of the
//! Lambda API names a function of the namespace `default`: SDKs then need no name that resolves. Requests wait at the
//! Revision's [`Gate`](crate::autoscaler::Gate) while a pod is started.

mod forward;
mod patience;
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
use percent_encoding::percent_decode_str;
use tm_serve::{Listener, Options, Peer};
use tokio_util::sync::CancellationToken;

pub use table::Table;
pub(crate) use watch::follow;

use crate::autoscaler::{Autoscaler, EnterError};

/// Beginnings of the Lambda API's paths: Invoke, InvokeWithResponseStream, InvokeAsync.
const LAMBDA_API: [&str; 3] = ["/2015-03-31/functions/", "/2021-11-15/functions/", "/2014-11-13/functions/"];
/// What stands before the name in ARNs.
const FUNCTION: &str = ":function:";
const DEFAULT_NAMESPACE: &str = "default";

/// Body of an answer: ours or the function's.
pub(crate) type Body = BoxBody<Bytes, BodyError>;

/// Why an answer ends before its end; the caller's connection breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the function's answer broke off")]
    Pod(#[source] hyper::Error),
    #[error("the function's answer took too long")]
    TimedOut,
}

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
        let from = origin(peer);
        let mut found = self.table.find(&host, from).await;
        if found.is_none()
            && let Some(host) = host_of_function(request.uri().path())
        {
            found = self.table.find(&host, from).await;
        }
        let revision = match found {
            Some(Ok(revision)) => revision,
            Some(Err(table::NotReady)) => return Err(Refused::NotReady(host)),
            None => return Err(Refused::NoRoute(host)),
        };
        let gate = self.autoscaler.gate(&revision);
        forward::send(&self.client, &gate, request, peer).await
    }
}

/// Containers share the machine's network: whatever comes from there is inside.
fn origin(peer: &Peer) -> table::Origin {
    match peer {
        Peer::Tcp { remote, .. } if !remote.ip().to_canonical().is_loopback() => table::Origin::Outside,
        _ => table::Origin::Inside,
    }
}

/// The host a request is for: the header, else the authority of an absolute request line.
fn host_of<B>(request: &Request<B>) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().host()).map(str::to_ascii_lowercase)
}

/// The host of the function that a path of the Lambda API names, by its name or ARN, with or without a qualifier.
fn host_of_function(path: &str) -> Option<String> {
    let rest = LAMBDA_API.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let name = percent_decode_str(rest.split('/').next()?).decode_utf8().ok()?;
    let name = name.rsplit_once(FUNCTION).map_or(&*name, |(_, name)| name);
    let name = name.split(':').next().filter(|name| !name.is_empty() && !name.contains('.'))?;
    Some(format!("{name}.{DEFAULT_NAMESPACE}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_lambda_api_name_functions() {
        let host = |name: &str| host_of_function(&format!("/2015-03-31/functions/{name}/invocations"));
        let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Ahello";
        for name in ["hello", "hello:$LATEST", arn, "123456789012:function:hello:live"] {
            assert_eq!(host(name).as_deref(), Some("hello.default"), "{name}");
        }
        for name in ["", ":", "hello.other", "%ff"] {
            assert_eq!(host(name), None, "{name}");
        }
        for path in ["/", "/functions/hello/invocations", "/2015-03-31/functions"] {
            assert_eq!(host_of_function(path), None, "{path}");
        }
        let streaming = "/2021-11-15/functions/hello/response-streaming-invocations";
        assert_eq!(host_of_function(streaming).as_deref(), Some("hello.default"));
    }
}
