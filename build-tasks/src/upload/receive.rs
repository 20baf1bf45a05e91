//! `receive`: holds the build until the source is there.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::state;
use crate::{
    cli::ReceiveArgs,
    error::{Code, Failure},
    output, signals,
};

/// Often enough that nobody notices, rarely enough that it costs nothing.
const POLL: Duration = Duration::from_millis(20);

/// Waits for the upload, the deadline or a signal.
pub(crate) async fn receive(args: &ReceiveArgs) -> Result<(), Failure> {
    signals::until_asked_to_stop(wait(args)).await
}

async fn wait(args: &ReceiveArgs) -> Result<(), Failure> {
    let deadline = Instant::now() + args.timeout;
    loop {
        if let Some(done) = state::read(&args.state, &args.token)? {
            output::line(&format!("source received: {} entries in {} bytes", done.entries, done.bytes));
            return Ok(());
        }
        if Instant::now() >= deadline {
            let waited = args.timeout.as_secs();
            return Err(Failure::because(format!("no source arrived within {waited} s")).code(Code::Timeout));
        }
        sleep(POLL).await;
    }
}
