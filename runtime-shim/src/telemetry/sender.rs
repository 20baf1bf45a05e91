//! Brings a subscriber's batches to its listener (EX-13): arrays over HTTP, lines over TCP.
//!
//! The listener is in the container, whatever it calls itself: `sandbox.localdomain` is not looked up. One that cannot be
//! reached is tried again for as long as the environment lives, as it may just have started; one that answers badly gets
//! each batch a few times.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tm_lambda::headers;
use tm_lambda::telemetry::{Delivery, Destination};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::mailbox::{Batch, Mailbox};
use crate::body;

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("failed to connect")]
    Connect(#[source] io::Error),
    #[error("the exchange broke off")]
    Http(#[source] hyper::Error),
    #[error("the connection broke")]
    Tcp(#[source] io::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("no answer within {LIMIT:?}")]
    Slow,
}

/// A subscriber's listener, with the connection that is kept to it.
#[derive(Debug, Default)]
struct Listener {
    http: Option<(u16, SendRequest<Full<Bytes>>)>,
    tcp: Option<(u16, TcpStream)>,
    /// What makes the HTTP connection go on; ends with us.
    drivers: JoinSet<()>,
    sequence: u64,
}

/// How long a listener may take for one batch.
const LIMIT: Duration = Duration::from_secs(5);

/// How often a batch is offered to a listener that answers badly.
const TRIES: u32 = 5;

/// Between two tries; doubled each time.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What is read of an answer, which nobody looks at.
const DISCARD: usize = 64 * 1024;

const AGENT: &str = "awslambda-worker/1.0";

/// Sends until it is stopped.
pub(super) async fn run(mailbox: std::sync::Arc<Mailbox>) {
    let mut listener = Listener::default();
    let (mut bad, mut pause) = (0, PAUSE);
    loop {
        let batch = mailbox.batch().await;
        let delivered = tokio::time::timeout(LIMIT, listener.deliver(batch)).await;
        let Err(error) = delivered.unwrap_or(Err(DeliveryError::Slow)) else {
            mailbox.arrived();
            (bad, pause) = (0, PAUSE);
            continue;
        };
        listener.forget();
        tracing::debug!(error = &error as &dyn std::error::Error, "telemetry did not arrive");
        bad += u32::from(!matches!(error, DeliveryError::Connect(_)));
        if bad == TRIES {
            mailbox.give_up();
            bad = 0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

// === impl Listener ===

impl Listener {
    async fn deliver(&mut self, batch: Batch) -> Result<(), DeliveryError> {
        let Batch { records, destination } = batch;
        match destination {
            Destination::Tcp { port } => self.write(port, lines(&records)).await,
            Destination::Http { method, port, authority, path } => {
                self.sequence += 1;
                let method = match method {
                    Delivery::Post => http::Method::POST,
                    Delivery::Put => http::Method::PUT,
                };
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header(HOST, authority)
                    .header(CONTENT_TYPE, headers::JSON)
                    .header(USER_AGENT, AGENT)
                    .header(headers::SEQUENCE_ID, STANDARD.encode(self.sequence.to_be_bytes()))
                    .body(Full::new(array(&records)))
                    .expect("path and host were parsed before");
                self.request(port, request).await
            }
        }
    }

    async fn request(&mut self, port: u16, request: Request<Full<Bytes>>) -> Result<(), DeliveryError> {
        let kept = self.http.take().filter(|(kept, sender)| *kept == port && !sender.is_closed());
        let mut sender = match kept {
            Some((_, sender)) => sender,
            None => self.connect(port).await?,
        };
        sender.ready().await.map_err(DeliveryError::Http)?;
        let response = sender.send_request(request).await.map_err(DeliveryError::Http)?;
        let status = response.status();
        body::discard(response.into_body(), DISCARD).await;
        self.http = Some((port, sender));
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Status(status)) }
    }

    async fn connect(&mut self, port: u16) -> Result<SendRequest<Full<Bytes>>, DeliveryError> {
        let stream = open(port).await?;
        // As AWS's client writes them.
        let mut client = http1::Builder::new();
        client.title_case_headers(true);
        let (sender, connection) =
            client.handshake(TokioIo::new(stream)).await.map_err(DeliveryError::Http)?;
        self.drivers = JoinSet::new();
        self.drivers.spawn(async move {
            // How it ends is seen by the exchange.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn write(&mut self, port: u16, lines: Bytes) -> Result<(), DeliveryError> {
        let mut stream = match self.tcp.take().filter(|(kept, _)| *kept == port) {
            Some((_, stream)) => stream,
            None => open(port).await?,
        };
        stream.write_all(&lines).await.map_err(DeliveryError::Tcp)?;
        self.tcp = Some((port, stream));
        Ok(())
    }

    /// The next try begins with a connection of its own.
    fn forget(&mut self) {
        self.http = None;
        self.tcp = None;
        self.drivers = JoinSet::new();
    }
}

async fn open(port: u16) -> Result<TcpStream, DeliveryError> {
    TcpStream::connect(("127.0.0.1", port)).await.map_err(DeliveryError::Connect)
}

fn array(records: &[Bytes]) -> Bytes {
    let mut body = Vec::with_capacity(2 + records.iter().map(|record| record.len() + 1).sum::<usize>());
    for record in records {
        body.push(if body.is_empty() { b'[' } else { b',' });
        body.extend_from_slice(record);
    }
    body.push(b']');
    body.into()
}

fn lines(records: &[Bytes]) -> Bytes {
    records.iter().flat_map(|record| [record.as_ref(), b"\n"]).collect::<Vec<_>>().concat().into()
}
