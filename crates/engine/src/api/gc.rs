//! Garbage collection: what is owned by nobody any more goes, owners that wait for what they own are let go, and
//! namespaces are emptied. One task, which the API owns; it follows the store and sweeps when something happened that
//! can matter.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::bootstrap;
use crate::store::{Event, EventKind, Expect, Store, Watcher, WriteError};

mod sweep;

use sweep::{Step, plan};

/// Time between looks at what has grown old.
const AGING: Duration = Duration::from_secs(600);
/// Pause after a sweep that met with errors.
const RETRY: Duration = Duration::from_millis(200);
/// Steps done at once: they share a transaction.
const AT_ONCE: usize = 64;

/// Runs until `stopping`.
pub(super) async fn run(store: Store, stopping: CancellationToken) {
    tokio::select! {
        () = stopping.cancelled() => {}
        () = collect(&store) => {}
    }
}

async fn collect(store: &Store) {
    let mut aging = interval(AGING);
    aging.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Ok(mut watcher) = store.watch(None, None, store.revision()) else { continue };
        sweep_until_clean(store).await;
        loop {
            tokio::select! {
                next = relevant(&mut watcher) => match next {
                    Ok(()) => sweep_until_clean(store).await,
                    // Too much happened at once: everything is looked at anyway.
                    Err(_) => break,
                },
                _ = aging.tick() => forget_old_events(store).await,
            }
        }
    }
}

/// Waits for a write that can leave something to do.
async fn relevant(watcher: &mut Watcher) -> Result<(), crate::store::Expired> {
    loop {
        if matters(&watcher.next().await?) {
            return Ok(());
        }
    }
}

fn matters(event: &Event) -> bool {
    let object = &event.object;
    let owners_changed =
        || event.previous.as_ref().is_none_or(|previous| previous.owners() != object.owners());
    event.kind == EventKind::Deleted
        || object.is_terminating()
        || !object.owners().is_empty() && owners_changed()
}

/// Sweeps until a sweep finds nothing to do, or only what others must do first.
async fn sweep_until_clean(store: &Store) {
    loop {
        let steps = plan(&store.all().objects);
        if steps.is_empty() {
            return;
        }
        let mut failed = false;
        for steps in steps.chunks(AT_ONCE) {
            let results = futures::future::join_all(steps.iter().map(|step| take(store, step))).await;
            failed |= results.iter().any(Result::is_err);
        }
        if failed {
            sleep(RETRY).await;
        }
    }
}

async fn take(store: &Store, step: &Step) -> Result<(), WriteError> {
    let result = match step {
        Step::Delete { object, foreground } => super::delete::collect(store, object, *foreground).await,
        Step::Change { object, value } => {
            super::write::put_or_finish(store, object, value.clone()).await.map(drop)
        }
        Step::ServiceAccount { namespace } => {
            let (key, value) = bootstrap::service_account(namespace);
            store.put(key, value, Expect::Absent).await.map(drop)
        }
    };
    match result {
        // Somebody else was quicker; the next sweep sees what they did.
        Err(WriteError::Conflict(_) | WriteError::Exists(_)) => Ok(()),
        Err(error) => {
            tracing::warn!(%error, "garbage collection cannot write");
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Events are told for an hour.
async fn forget_old_events(store: &Store) {
    let old = sweep::old_events(&store.list("events", None).objects, jiff::Timestamp::now());
    for events in old.chunks(AT_ONCE) {
        let deletions = events.iter().map(|event| {
            let step = Step::Delete { object: Arc::clone(event), foreground: false };
            async move { take(store, &step).await }
        });
        drop(futures::future::join_all(deletions).await);
    }
}
