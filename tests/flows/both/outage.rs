//! An API server that goes away for good between a build and its service.

use std::{net::SocketAddr, process::Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tm_testkit::{machine::Machine, tools};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy},
    net::{TcpListener, TcpStream},
    process::Child,
    sync::watch,
};

use crate::{
    support::{refused, shell_function},
    target,
};

/// The API server without TLS, and without a login: whoever stands before it can read what is asked.
async fn plain(machine: &Machine) -> Result<(Child, String)> {
    let context = machine.cluster().map_or("tm-local", |cluster| &cluster.context);
    // It would keep a source from its build.
    let everything = "--reject-paths=^nothing$";
    let mut proxy = machine
        .command("kubectl")
        .args(["--context", context, "proxy", "--port=0", everything])
        .stdout(Stdio::piped())
        .spawn()
        .context("kubectl starts")?;
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().context("its output")?).read_line(&mut line).await?;
    let address = line.trim().rsplit(' ').next().context("an address")?.to_owned();
    ensure!(address.parse::<SocketAddr>().is_ok(), "kubectl proxy says {line}");
    Ok((proxy, address))
}

/// Passes connections on until a Service is to be written: from then on nobody gets through.
async fn shut_at_the_service(to: String) -> Result<(SocketAddr, watch::Receiver<bool>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (shut, state) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            if !*shut.borrow() {
                tokio::spawn(pass(client, to.clone(), shut.clone()));
            }
        }
    });
    Ok((address, state))
}

async fn pass(mut client: TcpStream, to: String, shut: watch::Sender<bool>) -> Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut state = shut.subscribe();
    let requests = async {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let count = from_client.read(&mut bytes).await?;
            if writes_a_service(&bytes[..count]) {
                shut.send_replace(true);
            }
            if count == 0 || *shut.borrow() {
                return Ok(());
            }
            to_server.write_all(&bytes[..count]).await?;
        }
    };
    tokio::select! {
        done = requests => done,
        _ = copy(&mut from_server, &mut to_client) => Ok(()),
        _ = state.wait_for(|shut| *shut) => Ok(()),
    }
}

/// Whether a request begins here that changes a Service, not one that only asks what would become of it.
fn writes_a_service(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    line.starts_with("PATCH /apis/serving.knative.dev/") && !line.contains("dryRun")
}

#[tokio::test]
async fn the_image_is_named_when_the_service_could_not_be_deployed() -> Result<()> {
    if tools::find("curl").is_none() || tools::find("kubectl").is_none() {
        return Ok(());
    }
    let machine = target().await;
    let (_proxy, server) = plain(&machine).await?;
    let (address, shut) = shut_at_the_service(server).await?;
    let config = machine.path().join("outage.json");
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "gate",
        "clusters": [{"name": "gate", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{
            "name": "gate",
            "context": {"cluster": "gate", "user": "nobody", "namespace": machine.namespace()}
        }]
    });
    fs_err::write(&config, text.to_string())?;
    let config = config.display().to_string();
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();

    let ran = machine
        .tm(["--config", &config, "--context", "gate", "deploy", "service", "hello", "-f", &folder, "--wait"])
        .await;
    ensure!(*shut.borrow(), "no service was written: {ran:?}");
    refused(
        &ran,
        1,
        &["was built, but the service `hello` was not deployed", "could not be reached", "hint:"],
    );
    let image = ran.stderr.split("the image ").nth(1).and_then(|rest| rest.split(' ').next());
    let image = image.with_context(|| format!("no image is named: {ran:?}"))?;

    // As the hint says.
    machine.tm_ok(["deploy", "service", "hello", "-f", image, "--wait"]).await?;
    ensure!(machine.call("hello", "{}").await?.body == "1");
    Ok(())
}
