//! git's own server behind a password: its CGI program, over HTTP.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// Serves the repositories below a folder to `user` with `password`.
struct Backend {
    root: PathBuf,
    authorization: String,
}

/// A server for the repositories below `root`; requests that do not bring these credentials are answered 401.
pub(crate) async fn serve(root: PathBuf, user: &str, password: &str) -> MockServer {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(Backend { root, authorization }).mount(&server).await;
    server
}

impl Respond for Backend {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        if header("authorization") != Some(&self.authorization) {
            return ResponseTemplate::new(401).insert_header("WWW-Authenticate", "Basic realm=\"git\"");
        }
        let mut command = Command::new("git");
        command.args(["-c", "safe.directory=*", "http-backend"]);
        command
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", request.url.path())
            .env("QUERY_STRING", request.url.query().unwrap_or_default())
            .env("REQUEST_METHOD", request.method.as_str())
            .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
            .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
            .env("CONTENT_LENGTH", request.body.len().to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git starts");
        child.stdin.take().expect("an input").write_all(&request.body).expect("git reads");
        let output = child.wait_with_output().expect("git ends").stdout;
        answer(&output)
    }
}

/// The HTTP answer a CGI program means.
fn answer(output: &[u8]) -> ResponseTemplate {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("headers end");
    let (head, body) = (String::from_utf8_lossy(&output[..end]), &output[end + 4..]);
    let headers: Vec<_> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let value = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let status = value("Status").and_then(|status| status.get(..3)).map_or(Ok(200), str::parse);
    ResponseTemplate::new(status.expect("a number"))
        .set_body_raw(body, value("Content-Type").unwrap_or("text/plain"))
}
