//! A function on AWS's Rust runtime client. Judged by `tests/it/official_rust.rs`, measured by `benches/compare.rs`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// Gives the event back; `{"do": …}` asks for something else.
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    match payload["do"].as_str() {
        Some("error") => Err("no".into()),
        Some("panic") => panic!("asked to"),
        Some("context") => Ok(json!({
            "id": context.request_id,
            "arn": context.invoked_function_arn,
            "name": context.env_config.function_name,
            "trace": context.xray_trace_id,
        })),
        _ => Ok(payload),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handler)).await
}
