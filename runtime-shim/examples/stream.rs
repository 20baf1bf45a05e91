//! A streaming function on AWS's Rust runtime client. Judged by `tests/it/official_rust.rs`.

use bytes::Bytes;
use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

/// Sends the event's pieces one by one, then `size` bytes of filling; `"abort": true` breaks off behind them.
async fn handler(event: LambdaEvent<Value>) -> Result<Response<Body>, Error> {
    let event = event.payload;
    if event["fail"] == true {
        return Err("no".into());
    }
    let (mut pieces, body) = channel();
    let mut response = Response::from(body);
    response.metadata_prelude.status_code = 203.try_into()?;
    response.metadata_prelude.headers.append("x-zoo", "emu".try_into()?);
    response.metadata_prelude.headers.append("x-zoo", "hen".try_into()?);
    response.metadata_prelude.cookies = vec!["a=1".to_owned(), "b=2; Secure".to_owned()];
    drop(tokio::spawn(async move {
        for piece in event["pieces"].as_array().into_iter().flatten() {
            let piece = piece.as_str().unwrap_or_default().to_owned();
            if pieces.send_data(piece.into()).await.is_err() {
                return;
            }
        }
        let filling = Bytes::from_static(&[b'x'; 65536]);
        let mut left = event["size"].as_u64().unwrap_or_default();
        while left > 0 {
            let size = left.min(filling.len() as u64);
            left -= size;
            let piece = filling.slice(..usize::try_from(size).unwrap_or_default());
            if pieces.send_data(piece).await.is_err() {
                return;
            }
        }
        if event["abort"] == true {
            pieces.abort();
        }
    }));
    Ok(response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handler)).await
}
