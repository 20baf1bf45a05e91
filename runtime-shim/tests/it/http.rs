//! A caller: one request per connection, nothing hidden.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::PATIENCE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Sends an event to `/`.
pub(crate) fn post(port: u16, body: &[u8]) -> Response {
    let mut stream = connect(port);
    stream.write_all(head("POST", "/", &format!("Content-Length: {}\r\n", body.len())).as_bytes()).unwrap();
    // A refused body may meet a closed connection; the answer is still there to be read.
    let _ = stream.write_all(body);
    finish(stream)
}

/// Sends a body to a path, with these further header lines.
pub(crate) fn send(port: u16, path: &str, headers: &str, body: &[u8]) -> Response {
    let mut stream = connect(port);
    let headers = format!("{headers}Content-Length: {}\r\n", body.len());
    stream.write_all(head("POST", path, &headers).as_bytes()).unwrap();
    // A refused body may meet a closed connection; the answer is still there to be read.
    let _ = stream.write_all(body);
    finish(stream)
}

/// Sends a request with these header lines and no body.
pub(crate) fn request(port: u16, method: &str, path: &str, headers: &str) -> Response {
    let mut stream = connect(port);
    stream.write_all(head(method, path, headers).as_bytes()).unwrap();
    finish(stream)
}

/// A connection with a limit on every wait.
pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A request's head.
pub(crate) fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")
}

/// Reads the answer.
pub(crate) fn finish(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, head, body: bytes[end + 4..].to_vec() }
}

// === impl Response ===

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The id of the invoke.
    pub(crate) fn id(&self) -> &str {
        self.header("x-amzn-requestid").unwrap_or_else(|| panic!("an answer without an id: {self:?}"))
    }

    /// Whether the function is to blame.
    pub(crate) fn blamed(&self) -> bool {
        self.header("x-amz-function-error") == Some("Unhandled")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}
