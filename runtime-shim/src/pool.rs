//! Starts workers: the first at once, more when invokes wait and nobody is about to take them (up to `INVOKER_COUNT`).

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::worker::{Shared, Worker};

/// Runs the workers until they are drained or halted. `initialised` is answered when the first worker's init has ended.
pub(crate) async fn run(shared: Arc<Shared>, initialised: oneshot::Sender<()>) {
    let most = shared.most_workers();
    let mut workers = JoinSet::new();
    let mut started = 1;
    start(&mut workers, &shared, 0, Some(initialised));
    loop {
        tokio::select! {
            () = shared.queue.shortage(), if started < most => {
                tracing::info!(worker = started, "starting one more worker");
                start(&mut workers, &shared, started, None);
                started += 1;
            }
            ended = workers.join_next_with_id() => match ended {
                None => return,
                Some(Ok(_)) => {}
                // A worker never gives up by itself; whatever it held answers its waiters by being dropped.
                Some(Err(error)) => {
                    tracing::error!(%error, "a worker broke; starting another");
                    start(&mut workers, &shared, started, None);
                    started += 1;
                }
            },
        }
    }
}

fn start(
    workers: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    index: usize,
    initialised: Option<oneshot::Sender<()>>,
) {
    // Counted before it runs, or the same shortage would start several.
    let starting = shared.queue.starting();
    workers.spawn(Worker::new(index, Arc::clone(shared)).run(starting, initialised));
}
