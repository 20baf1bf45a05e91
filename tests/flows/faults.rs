//! What is wrong with the machine or the engine itself.

use anyhow::Result;

use crate::{
    machine,
    support::{nothing_left, refused},
};

#[tokio::test]
async fn a_taken_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let machine = machine().with_env("TM_HTTP_LISTEN", &address);
    let ran = machine.tm(["local", "start"]).await;
    refused(&ran, 1, &["failed to listen", &address, "hint:", "--http-listen"]);
    assert!(machine.processes().is_empty());
}

#[tokio::test]
async fn a_corrupt_store() {
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("it starts");
    machine.tm_ok(["local", "stop"]).await.expect("it stops");
    let store = machine.state().join("store.redb");
    let good = fs_err::read(&store).expect("it reads");
    let cut = good[..good.len() / 2].to_vec();
    // One bit in each page, behind its head.
    let mut flipped = good.clone();
    flipped.iter_mut().skip(4096 + 100).step_by(4096).for_each(|byte| *byte ^= 4);
    for (what, bad) in [("no database", b"this is no database".to_vec()), ("cut", cut), ("flipped", flipped)]
    {
        fs_err::write(&store, bad).expect("it writes");
        let ran = machine.tm(["local", "start"]).await;
        let path = store.display().to_string();
        refused(
            &ran,
            1,
            &["the engine did not start", "the store", &path, "is damaged", "hint:", "TM_STATE_DIR"],
        );
        assert!(!ran.stderr.contains("panicked"), "{what}: {ran:?}");
        assert!(machine.processes().is_empty(), "{what}");
    }
    fs_err::write(&store, good).expect("it writes");
    machine.tm_ok(["local", "start"]).await.expect("the good one is as good as before");
}

#[tokio::test]
async fn an_engine_of_another_version() {
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("it starts");
    let lock = machine.path().join("run/engine.lock");
    let text = fs_err::read_to_string(&lock).expect("it reads");
    let version = env!("CARGO_PKG_VERSION");
    fs_err::write(&lock, text.replace(version, "0.0.7")).expect("it writes");
    refused(&machine.tm(["get", "services"]).await, 1, &["0.0.7", version, "hint:", "tm local stop"]);
    machine.tm_ok(["local", "stop"]).await.expect("any version can be stopped");
}

#[tokio::test]
async fn a_missing_toolchain_is_named() -> Result<()> {
    // The engine inherits this PATH, and builds look for their tools there.
    let machine = machine().with_env("PATH", "/nonexistent");
    let folder = machine.path().join("go");
    fs_err::create_dir_all(&folder)?;
    fs_err::write(folder.join("main.go"), "package main\nfunc main() {}\n")?;
    let ran = machine.tm(["deploy", "service", "a", "-f", folder.to_str().expect("text")]).await;
    refused(&ran, 1, &["`go`", "hint:"]);
    nothing_left(&machine).await;
    Ok(())
}

/// An API server without Knative and Tekton: what it says of unknown paths is a real one's answer, word for word.
async fn bare_cluster() -> Result<std::net::SocketAddr> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match client.read_u8().await {
                    Ok(byte) if head.len() < 8192 => head.push(byte),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let body = match path.split('?').next().unwrap_or_default() {
                "/version" => {
                    r#"{"major":"1","minor":"35","gitVersion":"v1.35.4","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#
                }
                "/apis" => r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#,
                "/api/v1/namespaces/default" => {
                    r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"default"}}"#
                }
                _ => "404 page not found\n",
            };
            let (status, kind) = match body.starts_with('{') {
                true => ("200 OK", "application/json"),
                false => ("404 Not Found", "text/plain; charset=utf-8"),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    Ok(address)
}

#[tokio::test]
async fn a_cluster_without_knative_and_tekton() -> Result<()> {
    let machine = machine();
    let address = bare_cluster().await?;
    let config = machine.path().join("bare.json");
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bare",
        "clusters": [{"name": "bare", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "bare", "context": {"cluster": "bare", "user": "me"}}],
    });
    fs_err::write(&config, text.to_string())?;
    let config = config.display().to_string();
    let looked = machine.tm(["--config", &config, "doctor", "--no-pods"]).await;
    let words = [
        "FAILED Knative      not installed",
        "FAILED Tekton       not installed",
        "hint: install",
        "FAILED rights",
    ];
    for words in words {
        anyhow::ensure!(looked.stdout.contains(words), "no `{words}`: {looked:?}");
    }
    let source = machine.path().join("source");
    fs_err::create_dir_all(&source)?;
    fs_err::write(source.join("main.py"), "def handler(event, context): return event\n")?;
    let source = source.display().to_string();
    let ran = machine.tm(["--config", &config, "deploy", "service", "a", "-f", &source]).await;
    refused(&ran, 1, &["404 page not found", "hint: the target lacks what this needs; `tm doctor`"]);
    Ok(())
}
