//! The way to the API server: proxies in between, and connections that break in the middle.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tm_testkit::machine::Machine;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{ended, failed_with, kubeconfig, until, write_config};
use crate::{support::shell_function, target};

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(5);

/// `host:port` of the API server.
async fn server(machine: &Machine) -> Result<String> {
    let config = kubeconfig(machine).await?;
    let url = config["clusters"][0]["cluster"]["server"].as_str().context("a server")?;
    Ok(url.trim_start_matches("https://").trim_end_matches('/').to_owned())
}

/// A way to `to` that can be closed: then all connections end and none is taken.
async fn gate(to: String) -> Result<(SocketAddr, watch::Sender<bool>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (open, state) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut state, to) = (state.clone(), to.clone());
            tokio::spawn(async move {
                if !*state.borrow() {
                    return;
                }
                let Ok(mut server) = TcpStream::connect(to).await else { return };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = state.wait_for(|open| !open) => {}
                }
            });
        }
    });
    Ok((address, open))
}

/// The API server goes away while the build runs, and comes back.
#[tokio::test]
async fn an_api_server_that_restarts_in_the_middle() -> Result<()> {
    let machine = target().await;
    let (address, open) = gate(server(&machine).await?).await?;
    let mut config = kubeconfig(&machine).await?;
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
    let config = write_config(&machine, "gate.json", &config)?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    for marker in ["Building hello", "Waiting for service"] {
        let args = ["--config", &config, "deploy", "service", "hello", "-f", &folder, "--wait"];
        let mut tm = machine.spawn(args.into_iter().chain(["-e", &format!("MARKER={}", marker.len())]))?;
        until(&mut tm, marker).await?;
        open.send_replace(false);
        // An outage is a time without a server; there is nothing to wait for.
        tokio::time::sleep(OUTAGE).await;
        open.send_replace(true);
        let ran = ended(tm).await?;
        ensure!(ran.code == 0, "cut at `{marker}`: {ran:?}");
        ensure!(machine.call("hello", "{}").await?.body == "1");
    }
    Ok(())
}

/// A proxy that only knows `CONNECT`, and how often it was asked.
async fn proxy() -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, asked) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(tunnel(client, count.clone()));
        }
    });
    Ok((address, asked))
}

async fn tunnel(mut client: TcpStream, asked: Arc<AtomicUsize>) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let to = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).context("a CONNECT")?;
    asked.fetch_add(1, Ordering::Relaxed);
    let mut server = TcpStream::connect(to).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test]
async fn a_proxy_in_between() -> Result<()> {
    let (address, asked) = proxy().await?;
    let machine = target()
        .await
        .with_env("HTTPS_PROXY", &format!("http://{address}"))
        .with_env("NO_PROXY", "")
        .with_env("no_proxy", "");
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    machine.tm_ok(["deploy", "service", "hello", "-f", &folder, "--wait"]).await?;
    ensure!(asked.load(Ordering::Relaxed) > 0, "nothing went through the proxy");
    ensure!(machine.call("hello", "{}").await?.body == "1");
    let dead = machine.with_env("HTTPS_PROXY", "http://127.0.0.1:1");
    failed_with(&dead.tm(["get", "services"]).await, &["hint:", "HTTPS_PROXY"])
}
