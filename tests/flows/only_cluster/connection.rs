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
use tm_testkit::machine::{Machine, wait_for};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};

use super::{LIMIT, Running, failed_with, kubeconfig, large_function, write_config};
use crate::{
    support::{get, shell_function},
    target,
};

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(5);

/// `host:port` of the API server.
async fn server(machine: &Machine) -> Result<String> {
    let config = kubeconfig(machine).await?;
    let url = config["clusters"][0]["cluster"]["server"].as_str().context("a server")?;
    Ok(url.trim_start_matches("https://").trim_end_matches('/').to_owned())
}

/// A way to `to` that can be closed: then all connections end and none is taken.
struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    /// Connections that were cut in the middle.
    cut: Arc<AtomicUsize>,
    /// Connections that were not taken.
    turned_away: Arc<AtomicUsize>,
}

async fn gate(to: String) -> Result<Gate> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (open, state) = watch::channel(true);
    let (cut, turned_away) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Gate { address, open, cut: cut.clone(), turned_away: turned_away.clone() };
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut state, to) = (state.clone(), to.clone());
            let (cut, turned_away) = (cut.clone(), turned_away.clone());
            tokio::spawn(async move {
                if !*state.borrow() {
                    turned_away.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let Ok(mut server) = TcpStream::connect(to).await else { return };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = state.wait_for(|open| !open) => drop(cut.fetch_add(1, Ordering::Relaxed)),
                }
            });
        }
    });
    Ok(gate)
}

/// A gate before the machine's API server, and the kubeconfig that leads through it.
async fn gated(machine: &Machine) -> Result<(Gate, String)> {
    let gate = gate(server(machine).await?).await?;
    let mut config = kubeconfig(machine).await?;
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", gate.address));
    let config = write_config(machine, "gate.json", &config)?;
    Ok((gate, config))
}

/// The API server goes away while tm does this or that, and comes back.
#[tokio::test]
async fn an_api_server_that_restarts_in_the_middle() -> Result<()> {
    let machine = target().await;
    let (gate, config) = gated(&machine).await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    for marker in ["Waiting for taskrun", "Building hello", "Waiting for service"] {
        let (cut, turned_away) = (gate.cut.load(Ordering::Relaxed), gate.turned_away.load(Ordering::Relaxed));
        let args = ["--config", &config, "deploy", "service", "hello", "-f", &folder, "--wait"];
        // Another variable each time: an unchanged service would not be waited for.
        let variable = format!("MARKER={}", marker.len());
        let args = args.into_iter().chain(["-e", &variable]);
        let mut tm = Running::of(machine.spawn(args)?)?;
        tm.until(marker).await?;
        gate.open.send_replace(false);
        // An outage is a time without a server; there is nothing to wait for.
        tokio::time::sleep(OUTAGE).await;
        gate.open.send_replace(true);
        let ran = tm.ended().await?;
        ensure!(ran.code == 0, "cut at `{marker}`: {ran:?}");
        ensure!(gate.cut.load(Ordering::Relaxed) > cut, "nothing was cut at `{marker}`: {ran:?}");
        ensure!(gate.turned_away.load(Ordering::Relaxed) > turned_away, "nobody came meanwhile: {ran:?}");
        ensure!(machine.call("hello", "{}").await?.body == "1");
    }
    Ok(())
}

/// The API server is away when the build ends, which is heard of afterwards.
#[tokio::test]
async fn an_api_server_that_is_away_when_the_build_has_ended() -> Result<()> {
    let machine = target().await;
    let (gate, config) = gated(&machine).await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let args = ["--config", &config, "deploy", "service", "hello", "-f", &folder, "--wait"];
    let mut tm = Running::of(machine.spawn(args)?)?;
    tm.until("Building hello").await?;
    gate.open.send_replace(false);
    wait_for("the build to end unheard", LIMIT, async || {
        let runs = get(&machine, "taskrun").await?;
        ensure!(runs["items"][0]["status"]["conditions"][0]["status"] == "True", "{runs}");
        Ok(())
    })
    .await?;
    gate.open.send_replace(true);
    let ran = tm.ended().await?;
    ensure!(ran.code == 0, "{ran:?}");
    ensure!(machine.call("hello", "{}").await?.body == "1");
    Ok(())
}

/// What becomes of an upload.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Its connection ends in the middle.
    Cut,
    /// No answer comes through any more, and its connection ends when the sender is dropped.
    Deaf,
}

/// Bytes to the server after which a connection is an upload.
const UPLOAD: usize = 2 << 20;

/// A way to `to` with trouble for the first upload, and what ends it.
async fn troubled(to: String, trouble: Trouble) -> Result<(SocketAddr, watch::Sender<bool>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (end, ended) = watch::channel(false);
    let first = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&to).await else { return };
            tokio::spawn(pass(client, server, trouble, first.clone(), ended.clone()));
        }
    });
    Ok((address, end))
}

/// Passes bytes on, until they are an upload's.
async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    trouble: Trouble,
    first: Arc<AtomicUsize>,
    mut ended: watch::Receiver<bool>,
) -> Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut sent, mut deaf) = (0, false);
    let (mut request, mut answer) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        tokio::select! {
            count = from_client.read(&mut request) => match count? {
                0 => return Ok(to_server.shutdown().await?),
                count => {
                    to_server.write_all(&request[..count]).await?;
                    let before = sent;
                    sent += count;
                    let is_first =
                        before < UPLOAD && sent >= UPLOAD && first.fetch_add(1, Ordering::Relaxed) == 0;
                    match trouble {
                        Trouble::Cut if is_first => return Ok(()),
                        Trouble::Cut => {}
                        Trouble::Deaf => deaf |= is_first,
                    }
                }
            },
            count = from_server.read(&mut answer) => match count? {
                0 => return Ok(to_client.shutdown().await?),
                _ if deaf => {}
                count => to_client.write_all(&answer[..count]).await?,
            },
            () = async { drop(ended.wait_for(|ended| *ended).await) }, if deaf => return Ok(()),
        }
    }
}

/// Whether the receiving step of the only build has ended.
async fn received(machine: &Machine) -> Result<bool> {
    let runs = get(machine, "taskrun").await?;
    let steps = runs["items"][0]["status"]["steps"].as_array().cloned().unwrap_or_default();
    let receiver = steps.iter().find(|step| step["name"] == "sources-receiver");
    Ok(receiver.is_some_and(|step| step["terminated"]["exitCode"] == 0))
}

/// A broken upload is begun again; one that arrived, of which nobody heard, is not.
#[tokio::test]
async fn uploads_that_break() -> Result<()> {
    for trouble in [Trouble::Cut, Trouble::Deaf] {
        let machine = target().await;
        let (address, end) = troubled(server(&machine).await?, trouble).await?;
        let mut config = kubeconfig(&machine).await?;
        config["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
        let config = write_config(&machine, "troubled.json", &config)?;
        let folder = large_function(&machine, "large", 4)?;
        let args = ["--config", &config, "--debug", "deploy", "service", "large", "-f", &folder, "--wait"];
        let tm = Running::of(machine.spawn(args)?)?;
        if matches!(trouble, Trouble::Deaf) {
            let deadline = Instant::now() + LIMIT;
            while !received(&machine).await? {
                ensure!(
                    Instant::now() < deadline,
                    "the source was not received: {}",
                    get(&machine, "taskrun").await?
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            end.send_replace(true);
        }
        let ran = tm.ended().await?;
        ensure!(ran.code == 0, "{trouble:?}: {ran:?}");
        ensure!(ran.stderr.contains("broke off"), "{trouble:?}: nothing broke: {ran:?}");
        ensure!(machine.call("large", "{}").await?.body == "large", "{trouble:?}");
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
