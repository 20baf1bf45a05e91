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

/// Longest wait for the process of a finished `unpack` to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Waits for the upload, the deadline or a signal.
pub(crate) async fn receive(args: &ReceiveArgs) -> Result<(), Failure> {
    signals::until_asked_to_stop(wait(args)).await
}

async fn wait(args: &ReceiveArgs) -> Result<(), Failure> {
    let deadline = Instant::now() + args.timeout;
    loop {
        if let Some(done) = state::read(&args.state, &args.token)? {
            let gone = Instant::now() + GONE;
            while !state::is_free(&args.state) && Instant::now() < gone {
                sleep(POLL).await;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::state::Done;

    #[tokio::test(start_paused = true)]
    async fn it_does_not_end_before_unpack_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = ReceiveArgs {
            dir: folder.path().join("src"),
            state: folder.path().join("state"),
            token: "t".into(),
            timeout: Duration::from_secs(60),
        };
        let held = state::hold(&args.state).expect("it locks");
        let done = Done { token: "t".into(), sha256: String::new(), bytes: 1, entries: 1 };
        state::write(&args.state, &done).expect("it writes");
        let mut receiving = std::pin::pin!(wait(&args));
        let early = tokio::time::timeout(Duration::from_secs(1), &mut receiving).await;
        assert!(early.is_err(), "unpack still runs");
        drop(held);
        tokio::time::timeout(Duration::from_secs(1), receiving).await.expect("in time").expect("it arrived");
    }
}
