//! Figures of the engine on this machine: start, memory, a deployment's time, cold starts, the ingress' share of a call.
//!
//! `cargo bench -p tm --bench engine` prints them. Nothing is asserted: machines differ, ratios matter. Bounded in count
//! and time, loopback only.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use tm_testkit::machine::{Machine, call, repository, wait_for};
use tokio::time::Instant;

/// Starts of the engine that are measured.
const STARTS: usize = 10;
/// Cold starts that are measured.
const COLD: usize = 5;
/// Warm calls that are measured.
const WARM: usize = 500;
/// Longest wait for scale to zero.
const TO_ZERO: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test --benches` runs this too: it must not take minutes then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_tm"));
    starts(&machine).await?;
    memory(&machine, "engine, idle").await?;
    deployments(&machine).await?;
    cold(&machine).await?;
    warm(&machine).await?;
    memory(&machine, "engine, after the calls").await
}

async fn starts(machine: &Machine) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        machine.tm_ok(["local", "stop"]).await?;
        let begun = Instant::now();
        machine.tm_ok(["local", "start"]).await?;
        times.push(begun.elapsed());
    }
    let log = machine.tm_ok(["local", "logs"]).await?;
    let mut own: Vec<&str> = log.lines().filter_map(|line| line.split("elapsed=").nth(1)).collect();
    let first = own.first().copied().unwrap_or_default().to_owned();
    own.sort_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)));
    println!("`tm local start`, p50 of {STARTS}: {:.1?}", median(&mut times));
    println!(
        "engine start to ready, first: {first}, p50: {}",
        own.get(own.len() / 2).copied().unwrap_or_default()
    );
    Ok(())
}

async fn memory(machine: &Machine, what: &str) -> Result<()> {
    // What was allocated for the start is given back meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = machine.status().await?["pid"].as_i64().context("a pid")?;
    println!("{what}: {}", resident(&pid.to_string())?);
    for (pid, command) in machine.processes() {
        if command.contains("runtime-shim") || command.starts_with("tm sandbox") {
            let name = command.split(' ').take(2).collect::<Vec<_>>().join(" ");
            println!("  {name}: {}", resident(&pid.to_string())?);
        }
    }
    Ok(())
}

fn resident(pid: &str) -> Result<String> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    let value =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap_or_default();
    Ok(format!("RSS {} (anonymous {})", value("VmRSS:"), value("RssAnon:")))
}

async fn deploy(machine: &Machine) -> Result<(Duration, String)> {
    let source = repository().join("examples/python").display().to_string();
    let window = "autoscaling.knative.dev/window=6s";
    let args =
        ["deploy", "service", "hello", "-f", &source, "--runtime", "python", "-a", window, "--wait", "-d"];
    let begun = Instant::now();
    let ran = machine.tm(args).await;
    let elapsed = begun.elapsed();
    ensure!(ran.code == 0, "{ran:?}");
    let pushed = ran.stderr.lines().filter(|line| line.contains("pushed")).collect::<Vec<_>>().join("; ");
    Ok((elapsed, pushed))
}

async fn deployments(machine: &Machine) -> Result<()> {
    for what in ["first (fetches the runtime client)", "unchanged", "unchanged"] {
        let (elapsed, pushed) = deploy(machine).await?;
        println!("tm deploy service of examples/python, {what}: {elapsed:.2?}; {pushed}");
    }
    Ok(())
}

async fn cold(machine: &Machine) -> Result<()> {
    let ingress = machine.functions().await?;
    let mut times = Vec::new();
    for _ in 0..COLD {
        wait_for("scale to zero", TO_ZERO, async || {
            let left =
                machine.processes().into_iter().filter(|(_, line)| line.contains("awslambdaric")).count();
            ensure!(left == 0, "{left} processes");
            Ok(())
        })
        .await?;
        times.push(one(ingress).await?);
    }
    println!("cold start from zero (python, through the engine), p50 of {COLD}: {:.1?}", median(&mut times));
    Ok(())
}

async fn warm(machine: &Machine) -> Result<()> {
    let ingress = machine.functions().await?;
    let pod = machine.run_ok("kubectl", ["--context", "tm-local", "get", "pods", "-o", "json"]).await;
    let direct = pod.ok().and_then(|text| port_of(&text));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let through = calls(&client, ingress).await?;
    match direct {
        None => println!("warm call through the ingress, p50: {through:.2?}"),
        Some(address) => {
            let bare = calls(&client, address).await?;
            let ratio = through.as_secs_f64() / bare.as_secs_f64();
            println!(
                "warm call p50: ingress {through:.2?}, straight to the shim {bare:.2?}, ratio {ratio:.2}"
            );
        }
    }
    Ok(())
}

fn port_of(pods: &str) -> Option<SocketAddr> {
    let list: serde_json::Value = serde_json::from_str(pods).ok()?;
    let pod = list["items"]
        .as_array()?
        .iter()
        .find(|pod| pod["metadata"]["annotations"]["tm.local/port"].is_string())?;
    let port = pod["metadata"]["annotations"]["tm.local/port"].as_str()?.parse().ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

async fn one(ingress: SocketAddr) -> Result<Duration> {
    let begun = Instant::now();
    let answer = call(ingress, "hello.default", r#"{"name":"Foo"}"#).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(begun.elapsed())
}

async fn calls(client: &reqwest::Client, address: SocketAddr) -> Result<Duration> {
    let mut times = Vec::with_capacity(WARM);
    for _ in 0..WARM {
        let begun = Instant::now();
        let request = client.post(format!("http://{address}/")).header("Host", "hello.default");
        let response = request.body(r#"{"name":"Foo"}"#).send().await?;
        ensure!(response.status().is_success(), "{response:?}");
        response.bytes().await?;
        times.push(begun.elapsed());
    }
    Ok(median(&mut times))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
