//! Messages of `v4.channel.k8s.io` and `v5.channel.k8s.io`: a channel byte, then data.

use axum::extract::ws::Message;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::node::NodeError;

const STDIN: u8 = 0;
/// The command's output.
pub(super) const STDOUT: u8 = 1;
/// The command's errors.
pub(super) const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// v5 only: the next byte names the channel that is closed.
const CLOSE: u8 = 255;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Bytes for the command.
    Data(Bytes),
    /// End of the command's input.
    End,
    /// Nothing that matters here.
    Ignored,
    /// The client is going.
    Gone,
}

/// Understands a client's message.
pub(super) fn input(message: Message, half_close: bool) -> Input {
    let bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => Bytes::from(text),
        Message::Close(_) => return Input::Gone,
        Message::Ping(_) | Message::Pong(_) => return Input::Ignored,
    };
    match bytes.first() {
        Some(&STDIN) if bytes.len() > 1 => Input::Data(bytes.slice(1..)),
        Some(&CLOSE) if half_close && bytes.get(1) == Some(&STDIN) => Input::End,
        Some(&(STDIN | RESIZE)) | None => Input::Ignored,
        Some(other) => {
            tracing::debug!(channel = other, "a message on a channel that is not the client's");
            Input::Ignored
        }
    }
}

/// Output of the command.
pub(super) fn output(channel: u8, data: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(data.len() + 1);
    bytes.put_u8(channel);
    bytes.put_slice(data);
    Message::Binary(bytes.freeze())
}

/// How the command ended: the last message.
pub(super) fn status(exit: &Result<i32, NodeError>) -> Message {
    let status = match exit {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => failure(*code, &format!("exit status {code}")),
        Err(NodeError::CannotStart { command, source }) => {
            let code = if source.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            failure(code, &format!("failed to exec in container: exec: {command:?}: {source}"))
        }
        Err(error) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("Internal error occurred: error executing command in container: {error}"),
        }),
    };
    output(STATUS, status.to_string().as_bytes())
}

fn failure(code: i32, why: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: {why}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(bytes: &'static [u8]) -> Message {
        Message::Binary(Bytes::from_static(bytes))
    }

    #[test]
    fn what_clients_say() {
        assert_eq!(input(binary(b"\x00ab"), true), Input::Data(Bytes::from_static(b"ab")));
        assert_eq!(input(binary(b"\xff\x00"), true), Input::End);
        assert_eq!(input(binary(b"\xff\x00"), false), Input::Ignored);
        for nothing in [&b""[..], b"\x00", b"\x04{\"Width\":1}", b"\x09x", b"\xff", b"\xff\x01"] {
            assert_eq!(input(binary(nothing), true), Input::Ignored, "{nothing:?}");
        }
        assert_eq!(input(Message::Close(None), true), Input::Gone);
    }

    #[test]
    fn how_commands_end() {
        let body = |exit| {
            let Message::Binary(bytes) = status(&exit) else { panic!("binary") };
            assert_eq!(bytes[0], STATUS);
            serde_json::from_slice::<Value>(&bytes[1..]).unwrap()
        };
        assert_eq!(body(Ok(0)), json!({"metadata": {}, "status": "Success"}));
        let failed = body(Ok(3));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
        let missing = NodeError::CannotStart {
            command: "x".into(),
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        };
        assert_eq!(body(Err(missing))["details"]["causes"][0]["message"], "127");
    }
}
