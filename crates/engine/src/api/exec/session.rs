//! One running command: its streams on one side, the socket on the other.
//!
//! Nothing piles up: output waits in the command's pipes until the socket takes it, input waits in the socket until the
//! command takes it. When the client goes, or the API stops, the session is dropped and the command with it.

use std::{pin::Pin, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Streams,
    frames::{self, Input},
};
use crate::node::{ExecSession, NodeError};

/// Bytes read from the command at a time.
const CHUNK: usize = 32 << 10;
/// Messages between the readers and the socket.
const QUEUE: usize = 4;
/// Pings find out about clients that are gone.
const PING_EVERY: Duration = Duration::from_secs(30);
/// After the command's end, children of it may hold its pipes: so much silence is the end of its output.
const SILENCE: Duration = Duration::from_secs(2);
/// Time for the last messages.
const FAREWELL: Duration = Duration::from_secs(10);

type Reader = Pin<Box<dyn AsyncRead + Send>>;
type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Runs the session to its end.
pub(super) async fn run(
    socket: WebSocket,
    session: ExecSession,
    streams: Streams,
    half_close: bool,
    stopping: CancellationToken,
) {
    let ExecSession { stdin, stdout, stderr, exit } = session;
    let (sink, source) = socket.split();
    let (messages, queue) = mpsc::channel(QUEUE);
    let exited = CancellationToken::new();
    let talk = async {
        let out = copy(Some(stdout), streams.stdout.then_some(frames::STDOUT), &messages, &exited);
        let err = copy(stderr, streams.stderr.then_some(frames::STDERR), &messages, &exited);
        let end = async {
            let end = exit.await;
            exited.cancel();
            end
        };
        let (end, (), ()) = tokio::join!(end, out, err);
        // Without a receiver there is no client to tell.
        let _ = messages.send(frames::status(&end)).await;
        drop(messages);
    };
    let finished = async {
        let ((), ()) = tokio::join!(talk, send(sink, queue));
    };
    tokio::select! {
        () = finished => {}
        () = receive(source, stdin, half_close) => tracing::debug!("the client of an exec went away"),
        () = stopping.cancelled() => {}
    }
}

/// Tells that the command did not start.
pub(super) async fn fail(mut socket: WebSocket, error: &NodeError) {
    let status = match error {
        NodeError::CannotStart { command, source } => frames::status(&Err(NodeError::CannotStart {
            command: command.clone(),
            source: std::io::Error::new(source.kind(), source.to_string()),
        })),
        other => frames::status(&Err(NodeError::Io(std::io::Error::other(other.to_string())))),
    };
    let farewell = async {
        socket.send(status).await?;
        socket.send(Message::Close(Some(normal()))).await
    };
    if !matches!(timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
        tracing::debug!("the client of an exec that failed went away");
    }
}

fn normal() -> CloseFrame {
    CloseFrame { code: close_code::NORMAL, reason: "".into() }
}

/// Copies one stream of the command into messages; without a channel the bytes are dropped.
async fn copy(
    reader: Option<Reader>,
    channel: Option<u8>,
    messages: &mpsc::Sender<Message>,
    exited: &CancellationToken,
) {
    let Some(mut reader) = reader else { return };
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = reader.read(&mut buffer) => read,
            () = silence(exited) => return,
        };
        match (read, channel) {
            (Ok(0) | Err(_), _) => return,
            (Ok(length), Some(channel)) => {
                if messages.send(frames::output(channel, &buffer[..length])).await.is_err() {
                    return;
                }
            }
            (Ok(_), None) => {}
        }
    }
}

/// Resolves some time after the command's end.
async fn silence(exited: &CancellationToken) {
    exited.cancelled().await;
    tokio::time::sleep(SILENCE).await;
}

/// Writes messages to the socket, and pings in between; then says good-bye.
async fn send(mut sink: SplitSink<WebSocket, Message>, mut queue: mpsc::Receiver<Message>) {
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = ping.tick() => Some(Message::Ping(Vec::new().into())),
        };
        let Some(message) = message else { break };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let farewell = async {
        sink.send(Message::Close(Some(normal()))).await?;
        sink.close().await
    };
    // The status is out; a client that does not wait for the close is fine.
    let _ = timeout(FAREWELL, farewell).await;
}

/// Feeds the command's input. Returns when the client is gone; not when the input is at its end.
async fn receive(mut source: SplitStream<WebSocket>, mut stdin: Option<Writer>, half_close: bool) {
    while let Some(Ok(message)) = source.next().await {
        match frames::input(message, half_close) {
            Input::Data(bytes) => {
                if let Some(writer) = &mut stdin
                    && feed(writer, &bytes).await.is_err()
                {
                    // The command does not read any more; its exit code says whether that was an error.
                    stdin = None;
                }
            }
            Input::End => {
                if let Some(mut writer) = stdin.take() {
                    let _ = writer.shutdown().await;
                }
            }
            Input::Ignored => {}
            Input::Gone => return,
        }
    }
}

async fn feed(writer: &mut Writer, bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
