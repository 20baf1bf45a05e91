//! An external extension on AWS's Rust client. Judged by `tests/it/official_rust.rs`: it writes down what it gets.

use std::fs::OpenOptions;
use std::io::Write as _;

use lambda_extension::{
    Error, Extension, LambdaEvent, LambdaLog, LambdaTelemetry, NextEvent, SharedService, service_fn,
};

/// Appends a line to a file of the folder `$WORK`.
fn note(file: &str, line: &str) -> Result<(), Error> {
    let path = std::path::Path::new(&std::env::var("WORK")?).join(file);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(format!("{line}\n").as_bytes())?)
}

async fn events(event: LambdaEvent) -> Result<(), Error> {
    match event.next {
        NextEvent::Invoke(invoke) => note("events", &format!("INVOKE {}", invoke.request_id)),
        NextEvent::Shutdown(shutdown) => note("events", &format!("SHUTDOWN {}", shutdown.shutdown_reason)),
    }
}

async fn telemetry(batch: Vec<LambdaTelemetry>) -> Result<(), Error> {
    batch.into_iter().try_for_each(|record| note("telemetry", &format!("{:?}", record.record)))
}

async fn logs(batch: Vec<LambdaLog>) -> Result<(), Error> {
    batch.into_iter().try_for_each(|record| note("telemetry", &format!("{:?}", record.record)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let port: u16 = std::env::var("LISTEN_PORT")?.parse()?;
    let extension = Extension::new().with_events_processor(service_fn(events));
    let types = &["platform", "function", "extension"];
    if std::env::var("LISTEN_API")? == "logs" {
        let extension = extension
            .with_log_types(types)
            .with_log_port_number(port)
            .with_logs_processor(SharedService::new(service_fn(logs)));
        return extension.run().await;
    }
    let extension = extension
        .with_telemetry_types(types)
        .with_telemetry_port_number(port)
        .with_telemetry_processor(SharedService::new(service_fn(telemetry)));
    extension.run().await
}
