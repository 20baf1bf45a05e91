//! When a container that serves is ready: its port accepts a connection or, with `readinessProbe.httpGet`, answers the
//! request with a status from 200 to 399, as Knative's queue-proxy asks.
//!
//! Asked until the answer is yes, sooner than `periodSeconds` says, as Knative does for the sake of cold starts; not any
//! more afterwards. `exec` and `grpc` probes count as TCP.

use std::{net::Ipv4Addr, time::Duration};

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// Pauses between two looks at a container that is not ready yet.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Longest wait for an answer, when the probe does not say.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How a container shows that it is ready.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    port: u16,
    http: Option<HTTPGetAction>,
    delay: Duration,
    timeout: Duration,
}

// === impl Readiness ===

impl Readiness {
    /// As the container's probe says; `port` is where it really listens.
    pub(super) fn of(container: &Container, port: u16) -> Self {
        let probe = container.readiness_probe.clone().unwrap_or_default();
        let seconds = |given: Option<i32>| given.and_then(|n| u64::try_from(n).ok()).map(Duration::from_secs);
        Self {
            port,
            http: probe.http_get,
            delay: seconds(probe.initial_delay_seconds).unwrap_or_default(),
            timeout: seconds(probe.timeout_seconds).filter(|limit| !limit.is_zero()).unwrap_or(TIMEOUT),
        }
    }

    /// Resolves when the container is ready.
    pub(super) async fn reached(&self) {
        sleep(self.delay).await;
        let mut pause = PAUSE.0;
        while !timeout(self.timeout, self.look()).await.unwrap_or(false) {
            sleep(pause).await;
            pause = (pause + pause / 2).min(PAUSE.1);
        }
    }

    async fn look(&self) -> bool {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await else { return false };
        // Where nobody listens, a connection of the loopback can meet itself; that is no answer.
        let met_itself =
            !matches!((stream.local_addr(), stream.peer_addr()), (Ok(us), Ok(them)) if us != them);
        match &self.http {
            _ if met_itself => false,
            None => true,
            Some(get) => welcome(stream, get).await.unwrap_or(false),
        }
    }
}

/// Whether the request is answered well.
async fn welcome(
    stream: TcpStream,
    get: &HTTPGetAction,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = get.path.as_deref().filter(|path| path.starts_with('/')).unwrap_or("/");
    let mut request = Request::get(path).header("user-agent", "kube-probe/tm");
    let headers = get.http_headers.iter().flatten();
    if !headers.clone().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request = request.header("host", get.host.as_deref().unwrap_or("localhost"));
    }
    for header in headers {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    // The status is all that is wanted: without sender and body the connection ends, too.
    let status = async move { sender.send_request(request).await.map(|answer| answer.status().as_u16()) };
    let (status, _) = tokio::join!(status, connection);
    Ok((200..400).contains(&status?))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Answers each connection with the next of `statuses`, the last one again and again; what was asked is kept.
    async fn server(statuses: &'static [u16]) -> (u16, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            for index in 0.. {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let mut head = vec![0; 4096];
                let count = stream.read(&mut head).await.unwrap_or(0);
                seen.lock().expect("no panic").push(String::from_utf8_lossy(&head[..count]).into_owned());
                let status = statuses[index.min(statuses.len() - 1)];
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        (port, asked)
    }

    fn readiness(probe: serde_json::Value, port: u16) -> Readiness {
        let container = serde_json::from_value(json!({"name": "c", "readinessProbe": probe}));
        Readiness::of(&container.expect("a container"), port)
    }

    #[tokio::test]
    async fn http_is_asked_until_it_answers_well() {
        let (port, asked) = server(&[503, 404, 204]).await;
        let headers = json!([{"name": "X-A", "value": "b"}, {"name": "Host", "value": "me"}]);
        let get = json!({"httpGet": {"path": "/healthz?x=1", "httpHeaders": headers}});
        let reached = timeout(Duration::from_secs(30), readiness(get, port).reached()).await;
        assert!(reached.is_ok(), "it is ready in the end");
        let asked = asked.lock().expect("no panic");
        assert_eq!(asked.len(), 3, "{asked:?}");
        let first = asked[0].to_lowercase();
        assert!(first.starts_with("get /healthz?x=1 ") && first.contains("x-a: b"), "{first}");
        assert!(first.contains("host: me") && !first.contains("localhost"), "{first}");
    }

    #[tokio::test]
    async fn a_port_that_accepts_is_enough_without_http() {
        let (port, _) = server(&[500]).await;
        for probe in [json!({}), json!({"tcpSocket": {"port": 0}})] {
            let reached = timeout(Duration::from_secs(30), readiness(probe, port).reached()).await;
            assert!(reached.is_ok(), "it accepts");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        assert!(!readiness(json!({}), port).look().await);
        let (port, _) = server(&[500]).await;
        assert!(!readiness(json!({"httpGet": {"path": "/"}}), port).look().await);
    }
}
