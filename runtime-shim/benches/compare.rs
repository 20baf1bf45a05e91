//! Warm latency and throughput of echo functions through the shim, beside others on the same machine in the same run.
//!
//! ```text
//! cargo bench -p runtime-shim --bench compare -- [--seconds N] [--cargo-lambda PATH] [--peer NAME=PATH]...
//! ```
//!
//! Rows: a bare proxy (client → proxy → server over loopback); the bare exchanges of an invoke (the caller's, `next` and
//! `response`) with four workers that do nothing else, and with the Rust function; the shim with a Rust, a Go and a Python
//! function; `cargo lambda watch` with the same functions where it is found; and each peer with the same bootstraps: a NAME
//! that begins with `rie` is run as AWS's emulator, any other as aws-custom-runtime. Then starts until the first answer, and
//! streams of 100 MB. Nothing is asserted: only ratios within one run mean anything. Everything is on loopback and ends with
//! the run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring tool for people, not part of the product"
)]

#[path = "compare/baseline.rs"]
mod baseline;
#[path = "compare/client.rs"]
mod client;
#[path = "compare/targets.rs"]
mod targets;
#[path = "../tests/it/tools.rs"]
mod tools;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::Sample;
use targets::{Function, Target};

/// Clients at a time.
const CLIENTS: [usize; 4] = [1, 4, 16, 64];

/// Starts of which the middle one counts.
const STARTS: usize = 7;

/// Bytes of the stream.
const STREAM: usize = 100_000_000;

/// What the command line asks for.
struct Plan {
    seconds: Duration,
    cargo_lambda: String,
    peers: Vec<(String, String)>,
}

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("serve") => return baseline::serve(),
        Some("proxy") => return baseline::proxy(args.next().unwrap().parse().unwrap()),
        Some("exchanges") => return baseline::exchanges(),
        Some("worker") => return baseline::worker(args.next().unwrap().parse().unwrap()),
        _ => {}
    }
    let plan = Plan::read(std::env::args().skip(1));
    let bare = targets::bare();
    let reference: Vec<Row> = measure(&bare, &plan);
    println!(
        "{:<28} {:>3} {:>10} {:>10} {:>9} {:>7} {:>7} {:>8}",
        "", "c", "p50 ms", "p99 ms", "rps", "p50 x", "rps x", "cpu us"
    );
    print_rows("bare proxy", &reference, &reference);
    run(targets::bare_exchanges(None), &plan, &reference);
    run(targets::bare_exchanges(Some(Function::Rust)), &plan, &reference);
    for function in [Function::Rust, Function::Go, Function::Python] {
        run(targets::shim(function), &plan, &reference);
        let mut answering = Vec::new();
        for (name, path) in &plan.peers {
            if run(targets::peer(name, path, function), &plan, &reference) {
                answering.push((name, path));
            }
        }
        let mut lambda_starts = false;
        match targets::cargo_lambda(&plan.cargo_lambda, function) {
            Some(target) => {
                // Also where it does not go on answering.
                lambda_starts = target.cold.is_some();
                run(target, &plan, &reference);
            }
            None => println!("cargo lambda: not found (--cargo-lambda PATH)"),
        }
        print_starts("runtime-shim", || targets::shim(function));
        for (name, path) in answering {
            print_starts(name, || targets::peer(name, path, function));
        }
        if lambda_starts {
            print_starts("cargo lambda", || {
                targets::cargo_lambda(&plan.cargo_lambda, function).expect("it was there before")
            });
        }
    }
    print_stream(&bare, "/stream");
    let shim = targets::shim(Function::RustStream);
    print_stream(&shim, &shim.path);
    for (name, path) in &plan.peers {
        let target = targets::peer(name, path, Function::RustStream);
        print_stream(&target, &target.path);
    }
    if let Some(target) = targets::cargo_lambda(&plan.cargo_lambda, Function::RustStream) {
        print_stream(&target, &target.path);
    }
}

/// One load and what it cost.
struct Row {
    sample: Sample,
    /// Microseconds of processor time for each call, of all processes of the target.
    cpu: f64,
}

/// The middle one of several starts, until the first answer.
fn print_starts(name: &str, start: impl Fn() -> Target) {
    let mut times: Vec<f64> =
        (0..STARTS).filter_map(|_| start().cold).filter(|time| !time.is_nan()).collect();
    times.sort_by(f64::total_cmp);
    let [first, .., last] = times.as_slice() else {
        println!("{:<28}     {name}: does not start", "");
        return;
    };
    println!(
        "{:<28}     {name}: start to first answer p50 {:.0} ms, {first:.0} to {last:.0} ({} of {STARTS} starts)",
        "",
        times[times.len() / 2],
        times.len()
    );
}

/// The middle one of several streams.
fn print_stream(target: &Target, path: &str) {
    let (streams, most) = watched(target, || {
        (0..STARTS).map(|_| client::stream(target.port, path, STREAM)).collect::<Option<Vec<_>>>()
    });
    let Some(mut streams) = streams else {
        println!("{:<28}     100 MB: breaks off", target.name);
        return;
    };
    streams.sort_by(|a, b| a.first_byte.total_cmp(&b.first_byte));
    let first_byte = streams[STARTS / 2].first_byte;
    streams.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let rate = streams[STARTS / 2].rate;
    println!("{:<28}     100 MB: first byte {first_byte:.2} ms, {rate:.0} MB/s", target.name);
    if let Some(resident) = target.resident_kib() {
        let most = mb(most.max(resident));
        println!("{:<28}     RSS most {most:.1} MB, after it {:.1} MB", "", mb(resident));
    }
}

/// Measures one target and prints its rows. Whether it goes on answering.
fn run(target: Target, plan: &Plan, reference: &[Row]) -> bool {
    if !client::keeps_answering(target.port, &target.path) {
        println!("{:<28} does not go on answering 200", target.name);
        return false;
    }
    let idle = target.resident_kib();
    let (samples, most) = watched(&target, || measure(&target, plan));
    print_rows(&target.name, &samples, reference);
    if let (Some(idle), Some(loaded)) = (idle, target.resident_kib()) {
        let most = mb(most.max(loaded));
        println!(
            "{:<28}     RSS idle {:.1} MB, most {most:.1} MB, after the load {:.1} MB",
            "",
            mb(idle),
            mb(loaded)
        );
    }
    true
}

/// Does something, and looks at the target's memory all the while; the most of it.
fn watched<T>(target: &Target, what: impl FnOnce() -> T) -> (T, u64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(target.resident_kib().unwrap_or_default());
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let result = what();
        done.store(true, Ordering::Relaxed);
        (result, watch.join().unwrap())
    })
}

fn measure(target: &Target, plan: &Plan) -> Vec<Row> {
    // Also starts the workers that the load needs.
    let most = CLIENTS.into_iter().filter(|clients| *clients <= target.most_clients).max().unwrap();
    client::load(target.port, &target.path, most, Duration::from_secs(1));
    let row = |clients: &usize| {
        let before = target.cpu_seconds();
        let sample = client::load(target.port, &target.path, *clients, plan.seconds);
        let cpu = (target.cpu_seconds() - before) * 1e6 / f64::from(sample.calls.max(1));
        Row { sample, cpu }
    };
    CLIENTS.iter().filter(|clients| **clients <= most).map(row).collect()
}

fn print_rows(name: &str, rows: &[Row], reference: &[Row]) {
    for ((Row { sample, cpu }, Row { sample: base, .. }), clients) in rows.iter().zip(reference).zip(CLIENTS)
    {
        println!(
            "{name:<28} {clients:>3} {:>10.3} {:>10.3} {:>9.0} {:>7.2} {:>7.2} {cpu:>8.0}{}",
            sample.p50,
            sample.p99,
            sample.rps,
            sample.p50 / base.p50,
            sample.rps / base.rps,
            if sample.errors > 0 { format!("  {} not 200", sample.errors) } else { String::new() }
        );
    }
}

fn mb(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap()) / 1024.0
}

// === impl Plan ===

impl Plan {
    fn read(args: impl Iterator<Item = String>) -> Self {
        let mut plan = Self {
            seconds: Duration::from_secs(3),
            cargo_lambda: "cargo-lambda".to_owned(),
            peers: Vec::new(),
        };
        // `cargo bench` adds `--bench` of its own.
        let mut args = args.filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            let value = args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--seconds" => plan.seconds = Duration::from_secs(value.parse().unwrap()),
                "--cargo-lambda" => plan.cargo_lambda = value,
                "--peer" => {
                    let (name, path) = value.split_once('=').expect("--peer NAME=PATH");
                    plan.peers.push((name.to_owned(), path.to_owned()));
                }
                other => panic!("unknown option {other}"),
            }
        }
        plan
    }
}
