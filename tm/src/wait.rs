//! Waiting for objects: follows one object until something is concluded, with a deadline that names what it waited for.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, watch_object},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

/// What a look at the object concludes.
pub(crate) enum Look<T> {
    /// Done with waiting.
    Done(T),
    /// Go on; what is waited for.
    Waiting(String),
}

/// The time was up.
#[derive(Debug, thiserror::Error)]
#[error("{what} took longer than {}: {}", human(*limit), if last.is_empty() { "nothing is known of it" } else { last })]
pub(crate) struct TimedOut {
    what: String,
    limit: Duration,
    last: String,
}

/// Follows `name` until `look` is done. Failed watches are repeated; `None` means that the object is not there.
///
/// # Errors
/// [`TimedOut`], with the last thing that was waited for, or when `look` fails.
pub(crate) async fn until<K, T>(
    api: Api<K>,
    name: &str,
    limit: Duration,
    what: &str,
    mut look: impl FnMut(Option<K>) -> Result<Look<T>>,
) -> Result<T>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let deadline = Instant::now() + limit;
    let mut last = String::from("nothing was heard of it");
    let mut objects = watch_object(api, name).default_backoff().boxed();
    loop {
        let Ok(next) = timeout_at(deadline, objects.next()).await else {
            return Err(TimedOut { what: what.into(), limit, last }.into());
        };
        match next {
            Some(Ok(object)) => match look(object)? {
                Look::Done(value) => return Ok(value),
                Look::Waiting(state) => last = state,
            },
            Some(Err(error)) => match refusal(error) {
                Ok(refusal) => return Err(refusal).with_context(|| format!("{what} cannot be followed")),
                Err(error) => last = format!("the API server does not answer: {error}"),
            },
            None => bail!("{what}: the watch ended"),
        }
    }
}

/// What ends a watch for good: credentials or rights that are not there, or not any more. The rest passes.
///
/// # Errors
/// What is not one.
pub(crate) fn refusal(error: watcher::Error) -> Result<kube::Error, watcher::Error> {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    let refused =
        |error: &kube::Error| matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403));
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) if refused(&error) => {
            Ok(error)
        }
        other => Err(other),
    }
}

/// A duration for people: `10m`, `90s`.
pub(crate) fn human(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
