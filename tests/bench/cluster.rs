//! Figures of a cluster: each part of a deployment, cold starts, and what the way through Kourier and queue-proxy costs.
//!
//! `eval "$(tests/cluster/env)" && cargo bench -p tm --bench cluster` prints them. Nothing is asserted: machines differ, ratios
//! matter. Bounded in count and time; the pods must be reachable from here, as those of tests/cluster are.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::machine::{Machine, copy_tree, repository, wait_for};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::Instant,
};

/// Cold starts that are measured.
const COLD: usize = 3;
/// Warm calls that are measured on each way.
const WARM: usize = 500;
/// Longest wait for the last pod to go: Knative lets it drain.
const TO_ZERO: Duration = Duration::from_secs(300);
const SERVICE: &str = "bench";
const EVENT: &str = r#"{"name":"Foo"}"#;
/// What `tm` says when a part begins.
const PARTS: [(&str, &str); 4] = [
    ("Waiting for taskrun", "pod start"),
    ("Uploading the source", "upload"),
    ("Building", "build and push"),
    ("Waiting for service", "ready"),
];

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test --benches` runs this too: it needs a cluster.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let machine = Machine::on_cluster(env!("CARGO_BIN_EXE_tm")).await?;
    let source = machine.path().join("python");
    copy_tree(&repository().join("examples/python"), &source)?;
    deploy(&machine, &source, "first deploy of the Python example").await?;
    deploy(&machine, &source, "unchanged").await?;
    let handler = source.join("handler.py");
    let code = fs_err::read_to_string(&handler)?;
    fs_err::write(&handler, format!("{code}\n# changed\n"))?;
    deploy(&machine, &source, "code changed").await?;
    image(&machine).await?;
    warm(&machine).await?;
    cold(&machine).await
}

/// Deploys and prints how long each part took and what was pushed.
async fn deploy(machine: &Machine, source: &Path, what: &str) -> Result<()> {
    let from = source.display().to_string();
    let window = "autoscaling.knative.dev/window=6s";
    let args = ["--debug", "deploy", "service", SERVICE, "-f", &from, "--runtime", "python", "-a", window];
    let mut tm = machine.spawn(args.into_iter().chain(["--wait"]))?;
    let mut lines = BufReader::new(tm.stderr.take().context("its stderr")?).lines();
    let begun = Instant::now();
    let mut marks = vec![("before", begun)];
    let (mut pushed, mut said) = (String::new(), String::new());
    while let Some(line) = lines.next_line().await? {
        if let Some((_, part)) = PARTS.iter().find(|(marker, _)| line.starts_with(marker)) {
            marks.push((part, Instant::now()));
        }
        if line.starts_with("pushed ") {
            pushed.clone_from(&line);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let output = tm.wait_with_output().await?;
    ensure!(output.status.success(), "{said}");
    let end = Instant::now();
    let parts: Vec<String> = marks
        .iter()
        .zip(marks.iter().skip(1).map(|mark| mark.1).chain([end]))
        .map(|((part, from), to)| format!("{part} {:.1?}", to - *from))
        .collect();
    println!("{what}: {:.1?} ({}); {pushed}", end - begun, parts.join(", "));
    Ok(())
}

/// Size of the image that is deployed, by layer.
async fn image(machine: &Machine) -> Result<()> {
    let service: Value =
        serde_json::from_str(&machine.kubectl(["get", "ksvc", SERVICE, "-o", "json"]).await?)?;
    let image = service["spec"]["template"]["spec"]["containers"][0]["image"].as_str().context("an image")?;
    let (name, digest) = image.split_once('@').context("a digest")?;
    let (host, repository) = name.split_once('/').context("a registry")?;
    let url = format!("http://{host}/v2/{repository}/manifests/{digest}");
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let client = reqwest::Client::builder().no_proxy().build()?;
    let manifest = client.get(url).header("Accept", accept).send().await?.error_for_status()?.bytes().await?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let layers = manifest["layers"].as_array().context("layers")?;
    let sizes: Vec<u64> = layers.iter().filter_map(|layer| layer["size"].as_u64()).collect();
    println!("image: {} bytes in {} layers: {sizes:?}", sizes.iter().sum::<u64>(), sizes.len());
    Ok(())
}

/// The same calls through the ingress and straight to the shim in the pod.
async fn warm(machine: &Machine) -> Result<()> {
    let ingress = format!("http://{}/", machine.functions().await?);
    let host = machine.host(SERVICE);
    let through = measure(&ingress, Some(&host)).await?;
    let selector = format!("serving.knative.dev/service={SERVICE}");
    let pods = machine.kubectl(["get", "pods", "-l", &selector, "-o", "json"]).await?;
    let pods: Value = serde_json::from_str(&pods)?;
    let running = pods["items"].as_array().into_iter().flatten();
    let mut running = running.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let address = running.find_map(|pod| pod["status"]["podIP"].as_str()).context("a pod's address")?;
    let bare = measure(&format!("http://{address}:8080/"), None).await?;
    println!(
        "warm call, p50 of {WARM}: {through:.2?} through Kourier and queue-proxy, {bare:.2?} to the shim: {:.2} times",
        through.as_secs_f64() / bare.as_secs_f64()
    );
    Ok(())
}

async fn measure(url: &str, host: Option<&str>) -> Result<Duration> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut times = Vec::with_capacity(WARM);
    for _ in 0..WARM {
        let mut request = client.post(url).body(EVENT);
        if let Some(host) = host {
            request = request.header("Host", host);
        }
        let begun = Instant::now();
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await?;
        times.push(begun.elapsed());
    }
    Ok(median(&mut times))
}

async fn cold(machine: &Machine) -> Result<()> {
    let selector = format!("serving.knative.dev/service={SERVICE}");
    let mut times = Vec::new();
    for _ in 0..COLD {
        wait_for("scale to zero", TO_ZERO, async || {
            let left = machine.kubectl(["get", "pods", "-l", &selector, "-o", "name"]).await?;
            ensure!(left.trim().is_empty(), "{left}");
            Ok(())
        })
        .await?;
        let begun = Instant::now();
        let answer = machine.call(SERVICE, EVENT).await?;
        ensure!(answer.status == 200, "{answer:?}");
        times.push(begun.elapsed());
    }
    println!("cold start from zero through the activator, p50 of {COLD}: {:.1?}", median(&mut times));
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
