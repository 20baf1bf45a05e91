//! A limit for the answer of an API server: a connection that died unnoticed must not hold a command up for ever.
//!
//! What is meant to stay open is left alone: watches, followed logs and upgraded connections have limits of their own.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response, header};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

/// Longest wait for the head of an answer. A server's own limit for such requests is 60 s (`--request-timeout`).
const LIMIT: Duration = Duration::from_secs(75);

/// Puts the limit around a client's requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadlineLayer;

/// The limited client.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

impl<S, B> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let open_ended = is_open_ended(&request);
        let answer = self.inner.call(request);
        Box::pin(async move {
            if open_ended {
                return answer.await.map_err(Into::into);
            }
            let late = || format!("the API server did not answer within {} s", LIMIT.as_secs());
            tokio::time::timeout(LIMIT, answer).await.map_err(|_| late())?.map_err(Into::into)
        })
    }
}

fn is_open_ended<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let stays = |pair: &str| matches!(pair, "watch=true" | "watch=1" | "follow=true");
    query.split('&').any(stays) || request.headers().contains_key(header::UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<Body> {
        Request::builder().uri(uri).body(Body::empty()).expect("it is sound")
    }

    #[test]
    fn what_stays_open() {
        assert!(is_open_ended(&request("/api/v1/pods?watch=true&resourceVersion=1")));
        assert!(is_open_ended(&request("/api/v1/namespaces/a/pods/b/log?&follow=true")));
        assert!(!is_open_ended(&request("/api/v1/pods?labelSelector=watch%3Dtrue")));
        assert!(!is_open_ended(&request("/api/v1/pods")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes() {
        let silent = tower::service_fn(|_: Request<Body>| async {
            std::future::pending::<Result<Response<Body>, BoxError>>().await
        });
        let error = DeadlineLayer.layer(silent).call(request("/version")).await.expect_err("it is late");
        assert_eq!(error.to_string(), "the API server did not answer within 75 s");
    }
}
