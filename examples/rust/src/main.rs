//! Greets whoever the event names.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Event {
    name: String,
}

#[derive(Serialize)]
struct Reply {
    message: String,
}

async fn handler(event: LambdaEvent<Event>) -> Result<Reply, Error> {
    Ok(Reply { message: format!("Hello {}!", event.payload.name) })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handler)).await
}
