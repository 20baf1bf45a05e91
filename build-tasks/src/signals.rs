//! SIGTERM and SIGINT. As PID 1 of a step we would not even be ended by them if we did not listen.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Code, Failure};

/// Resolves when somebody asks us to stop.
pub(crate) async fn asked_to_stop() -> Result<(), Failure> {
    let failed = |error| Failure::new("failed to listen for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Runs `work` until it is done or somebody asks us to stop.
pub(crate) async fn until_asked_to_stop<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        asked = asked_to_stop() => {
            asked?;
            Err(stopped())
        }
    }
}

/// The failure that being stopped is.
pub(crate) fn stopped() -> Failure {
    Failure::because("stopped by a signal").code(Code::Stopped)
}
