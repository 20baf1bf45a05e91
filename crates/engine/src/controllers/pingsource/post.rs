//! Brings an event to its sink, with the retries of Eventing's adapter.
//!
//! What is for this engine's own functions goes to its ingress whatever the name resolves to: there it waits while an instance
//! starts, and is routed by share or tag, as every request.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::LazyLock,
    time::Duration,
};

use http::{StatusCode, Uri, header};
use tokio::time::{sleep, timeout};

use super::event::Event;
use crate::controllers::Domain;

/// Repetitions of what failed.
const RETRIES: u32 = 5;
/// Pause before the first of them; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest time of one attempt: the longest a function may take, and a little.
const LIMIT: Duration = Duration::from_secs(930);
/// Answers after which it is tried again, as the CloudEvents SDK does.
const RETRIABLE: [StatusCode; 7] = [
    StatusCode::NOT_FOUND,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::TOO_EARLY,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// To the ingress: never through a proxy. Made when first needed, as the other one: most engines send nothing.
static INSIDE: LazyLock<Result<reqwest::Client, String>> =
    LazyLock::new(|| client(|builder| builder.no_proxy()));
/// To anybody else.
static OUTSIDE: LazyLock<Result<reqwest::Client, String>> = LazyLock::new(|| client(|builder| builder));

/// The way out.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    ingress: SocketAddr,
    domain: Domain,
}

/// Why an event did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    /// The sink did not want it.
    #[error("{} Error sending cloud event to sink.", .0.as_u16())]
    Refused(StatusCode),
    /// Nobody answered.
    #[error("500 Error sending cloud event to sink. {0}")]
    Unanswered(String),
}

// === impl Post ===

impl Post {
    /// To functions of this engine through the ingress at that address.
    pub(crate) fn new(ingress: SocketAddr, domain: Domain) -> Self {
        let ip = match ingress.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self { ingress: SocketAddr::new(ip, ingress.port()), domain }
    }

    /// Sends until it is taken or cannot be any more.
    pub(super) async fn send(&self, sink: &str, event: &Event) -> Result<(), Lost> {
        let mut pause = PAUSE;
        for _ in 0..RETRIES {
            match self.once(sink, event).await {
                Err(Lost::Refused(status)) if !RETRIABLE.contains(&status) => {
                    return Err(Lost::Refused(status));
                }
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!(sink, %error, "an event is sent again"),
            }
            sleep(pause).await;
            pause *= 2;
        }
        self.once(sink, event).await
    }

    async fn once(&self, sink: &str, event: &Event) -> Result<(), Lost> {
        let unanswered = |why: &dyn std::fmt::Display| Lost::Unanswered(why.to_string());
        let request = self.request(sink, event)?;
        let answered = timeout(LIMIT, request.send()).await.map_err(|elapsed| unanswered(&elapsed))?;
        let status = answered.map_err(|error| unanswered(&error))?.status();
        if status.is_success() { Ok(()) } else { Err(Lost::Refused(status)) }
    }

    fn request(&self, sink: &str, event: &Event) -> Result<reqwest::RequestBuilder, Lost> {
        let uri: Uri =
            sink.parse().map_err(|error: http::uri::InvalidUri| Lost::Unanswered(error.to_string()))?;
        let ours = uri.authority().filter(|authority| self.domain.has(authority.host()));
        let (client, url) = match ours {
            Some(_) => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                (&*INSIDE, format!("http://{}{path}", self.ingress))
            }
            None => (&*OUTSIDE, sink.to_owned()),
        };
        let client = client.as_ref().map_err(|error| Lost::Unanswered(error.clone()))?;
        let mut request = client.post(url).body(event.body.clone());
        if let Some(authority) = ours {
            request = request.header(header::HOST, authority.as_str());
        }
        for (name, value) in &event.headers {
            request = request.header(name, value);
        }
        Ok(request)
    }
}

fn client(
    change: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, String> {
    // Somebody else may have chosen already: the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    change(reqwest::Client::builder()).build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use hyper::body::Bytes;
    use tokio::net::TcpListener;

    use super::*;

    /// A sink that gives these answers, the last one again and again; what it counts are requests.
    async fn sink(answers: &'static [u16]) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let router = axum::Router::new().fallback(move |headers: http::HeaderMap| {
            let at = seen.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let host = headers[header::HOST].to_str().unwrap_or_default().to_owned();
            async move { (StatusCode::from_u16(answers[at]).expect("a status"), host) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address, count)
    }

    fn post(ingress: SocketAddr) -> Post {
        Post::new(ingress, Domain { name: "localhost".into(), port: ingress.port() })
    }

    fn event() -> Event {
        Event { headers: vec![("ce-id".into(), "1".into())], body: Bytes::from_static(b"{}") }
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        let (address, count) = sink(&[503, 404, 202]).await;
        let sent = post(address).send("http://hello.default.localhost:1", &event()).await;
        assert_eq!((sent, count.load(Ordering::Relaxed)), (Ok(()), 3));
    }

    #[tokio::test]
    async fn what_will_not_is_lost_at_once_and_the_rest_after_five_more() {
        let (address, count) = sink(&[400]).await;
        let sent = post(address).send("http://hello.default.svc.cluster.local/x", &event()).await;
        assert_eq!(
            sent.map_err(|lost| lost.to_string()),
            Err("400 Error sending cloud event to sink.".into())
        );
        assert_eq!(count.load(Ordering::Relaxed), 1);
        let (address, count) = sink(&[429]).await;
        let lost = post(address).send(&format!("http://{address}/"), &event()).await;
        assert_eq!(lost, Err(Lost::Refused(StatusCode::TOO_MANY_REQUESTS)));
        assert_eq!(count.load(Ordering::Relaxed), 6);
    }
}
