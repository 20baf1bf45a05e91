//! `pods/exec` over WebSocket: checks the request, starts the command, upgrades, and hands over to the session.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, WebSocketUpgrade},
    response::Response,
};
use http::{Method, header, request::Parts};

use super::{
    container,
    dispatch::Call,
    error::{ApiError, Result},
};
use crate::node::{ExecSession, NodeError};

mod frames;
mod session;

/// With half-close of the input.
const V5: &str = "v5.channel.k8s.io";
/// Without.
const V4: &str = "v4.channel.k8s.io";
/// Largest message of a client: kube-rs sends its whole input buffer in one.
const MAX_MESSAGE: usize = 16 << 20;
/// Written but unsent bytes that may wait in the socket.
const MAX_UNSENT: usize = 1 << 20;
/// Time for the node to start the command.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// What the client wants of the command's streams.
#[derive(Clone, Copy, Debug)]
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// What there is to talk about after the upgrade.
enum Started {
    Running(ExecSession),
    /// The command could not be started: the status says why.
    Failed(NodeError),
}

/// `GET …/pods/NAME/exec` (and `POST`, which only SPDY clients send).
pub(crate) async fn exec(call: &Call, parts: &mut Parts) -> Result<Response> {
    let place = container::find(call)?;
    let streams = Streams::of(call)?;
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err(ApiError::bad_request("you must specify at least 1 command for the container"));
    }
    place.check_runs()?;
    let upgrade = upgrade(parts).await?;
    let node = call.api.node()?;
    let starting = node.exec(place.container.clone(), command, streams.stdin, streams.tty);
    let started = match tokio::time::timeout(START_DEADLINE, starting).await {
        Ok(Ok(session)) => Started::Running(session),
        Ok(Err(NodeError::NotRunning(_))) => return Err(place.not_found()),
        Ok(Err(error)) => Started::Failed(error),
        Err(_) => return Err(ApiError::new(504, "Timeout", "the command did not start in time")),
    };
    let half_close = upgrade.selected_protocol().is_some_and(|protocol| protocol == V5);
    let (stopping, tasks) = (call.api.stopping().clone(), call.api.tasks().clone());
    Ok(upgrade.on_upgrade(move |socket| {
        // The session belongs to the API: `Api::stop` ends it and waits for it.
        tasks.track_future(async move {
            match started {
                Started::Running(session) => {
                    session::run(socket, session, streams, half_close, stopping).await
                }
                Started::Failed(error) => session::fail(socket, &error).await,
            }
        })
    }))
}

async fn upgrade(parts: &mut Parts) -> Result<WebSocketUpgrade> {
    let wanted = parts.headers.get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if wanted.to_ascii_lowercase().starts_with("spdy/") || parts.method == Method::POST {
        return Err(ApiError::bad_request(
            "SPDY is not served here, only WebSocket (v5.channel.k8s.io): use a client that speaks it, such as kubectl \
             1.31 or later",
        ));
    }
    if wanted.is_empty() {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?
        .protocols([V5, V4])
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .max_write_buffer_size(MAX_UNSENT);
    if upgrade.selected_protocol().is_none() {
        return Err(ApiError::bad_request(format!(
            "none of the client's subprotocols is served: {V5}, {V4}"
        )));
    }
    Ok(upgrade)
}

// === impl Streams ===

impl Streams {
    fn of(call: &Call) -> Result<Self> {
        let flag = |name| call.query.flag(name);
        let tty = flag("tty");
        let streams =
            Self { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !tty, tty };
        if streams.stdin || streams.stdout || streams.stderr {
            return Ok(streams);
        }
        Err(ApiError::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
    }
}
