//! A function that takes several invokes at a time, on AWS's Rust runtime client. Judged by `tests/it/concurrency.rs`.

use std::path::PathBuf;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// Gives the event back; `{"mine": …, "other": …}` shows that it is there and waits until another invoke is, too.
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    let (Some(mine), Some(other)) = (payload["mine"].as_str(), payload["other"].as_str()) else {
        return Ok(payload);
    };
    let folder = PathBuf::from(std::env::var("WORK")?);
    tokio::fs::write(folder.join(mine), "").await?;
    while !tokio::fs::try_exists(folder.join(other)).await? {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(json!({"id": context.request_id, "met": other, "pid": std::process::id()}))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_runtime::run_concurrent(service_fn(handler)).await
}
