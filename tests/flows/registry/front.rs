//! A registry where a user may not push everywhere: a front before a real one that answers a known user's push to one
//! repository with 403 and passes everything else on. docker-registry's own htpasswd gives every user every right.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Result;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

/// The front; ended when dropped.
pub(super) struct Front {
    /// Where it listens.
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

/// Where requests go, and what is forbidden.
#[derive(Clone)]
struct Rules {
    registry: String,
    locked: String,
    client: reqwest::Client,
}

// === impl Front ===

impl Front {
    /// Listens before `registry`; nobody may push to the repository `locked`.
    pub(super) async fn start(registry: &str, locked: &str) -> Result<Self> {
        tm_testkit::tools::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let rules = Rules { registry: registry.into(), locked: format!("/v2/{locked}/"), client };
        Ok(Self { address, task: tokio::spawn(accept(listener, rules)) })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, rules: Rules) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let rules = rules.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, rules.clone()));
            // A client that breaks off is its own business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, rules: Rules) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = request.headers().contains_key(header::AUTHORIZATION);
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if known && writes && request.uri().path().starts_with(&rules.locked) {
        return Ok(denied());
    }
    Ok(pass_on(request, &rules).await.unwrap_or_else(|error| {
        let mut response = Response::new(Full::from(format!("{error:#}")));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }))
}

/// What the distribution specification says such an answer looks like.
fn denied() -> Response<Full<Bytes>> {
    let body = r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The `Host` goes along, so that the registry's `Location`s lead back here.
async fn pass_on(request: Request<Incoming>, rules: &Rules) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(|path| path.as_str()).unwrap_or("/");
    let mut headers = parts.headers;
    headers.remove(header::TRANSFER_ENCODING);
    let body = body.collect().await?.to_bytes();
    let sent = rules.client.request(parts.method, format!("http://{}{path}", rules.registry));
    let answer = sent.headers(headers).body(body).send().await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Full::from(answer.bytes().await?));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    Ok(response)
}
