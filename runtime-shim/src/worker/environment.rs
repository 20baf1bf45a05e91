//! A running process and everything that goes with it: its Runtime API, its session, its log lane, its memory figure.

use std::sync::Arc;
use std::time::Duration;

use tm_lambda::{RuntimeExit, environment as env};
use tm_serve::Tasks;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::ending::Ending;
use super::session::{Event, Session};
use crate::config::Config;
use crate::invocation::Delivery;
use crate::logs::{Lane, Output, Tail};
use crate::process::children::{Child, Children};
use crate::process::memory::Peak;
use crate::process::{StartError, Started, procfs};
use crate::runtime_api::{self, Entry};

/// One process of a worker.
#[derive(Debug)]
pub(crate) struct Environment {
    index: usize,
    session: Session,
    child: Child,
    exit: Option<RuntimeExit>,
    lane: Lane,
    peak: Peak,
    started: Instant,
    /// What the first invoke is billed for the init; taken by it.
    init: Option<Duration>,
    children: Arc<Children>,
    /// The Runtime API and the lane; they end with the environment.
    tasks: Tasks,
    api: CancellationToken,
    /// Its place in the shared Runtime API, where there is one.
    _entry: Option<Entry>,
}

/// What happens to a process.
#[derive(Debug)]
pub(crate) enum Step {
    /// It called.
    Session(Event),
    /// It ended.
    Exited(RuntimeExit),
    /// The time is over.
    Deadline,
    /// The shim stops now.
    Halted,
}

/// How long a process may take to end by itself after it reported an init error.
const INIT_ERROR_GRACE: Duration = Duration::from_millis(500);

/// How long an answer that is on its way is waited for when its sender has ended.
const UPLOAD_GRACE: Duration = Duration::from_millis(100);

/// How long the kernel may take to end a killed process (it may be stuck in a device).
const KILL_LIMIT: Duration = Duration::from_secs(5);

// === impl Environment ===

impl Environment {
    /// Starts the process of worker `index`, with a Runtime API of its own.
    pub(crate) async fn start(index: usize, shared: &Shared, output: Output) -> Result<Self, StartError> {
        let (session, link) = Session::new(Arc::clone(&shared.config.function));
        let (tasks, api) = (Tasks::new(), CancellationToken::new());
        let address = match shared.api.as_ref().and_then(|api| api.told()) {
            Some(address) => address,
            None => runtime_api::serve_own(link.clone(), &tasks, api.clone()).await.map_err(|error| {
                StartError::Sandbox(format!("failed to bind a Runtime API port: {error}"))
            })?,
        };
        let Started { child, pipes } = shared.launcher.start(index, address)?;
        let entry = shared.api.as_ref().map(|api| api.enter(child.pid(), index, link));
        let lane = Lane::start(pipes, output, &tasks);
        let children = shared.launcher.children();
        Ok(Self {
            index,
            session,
            child,
            exit: None,
            lane,
            peak: Peak::default(),
            started: Instant::now(),
            init: None,
            children,
            tasks,
            api,
            _entry: entry,
        })
    }

    /// Waits for the first `next`.
    pub(crate) async fn init(&mut self, limit: Instant, stop: &CancellationToken) -> Result<(), Ending> {
        match self.step(Some(limit), stop).await {
            Step::Session(Event::Ready) => {
                self.init = Some(self.started.elapsed());
                Ok(())
            }
            Step::Session(Event::InitError(error)) => {
                // It is expected to end by itself, with the last of its output (RT-36).
                let _ = tokio::time::timeout(INIT_ERROR_GRACE, self.exited()).await;
                Err(Ending::InitError(error))
            }
            // No event was given, so none can be answered.
            Step::Session(Event::Uploaded(_) | Event::Streaming(_)) => Err(Ending::Halted),
            Step::Exited(exit) => Err(Ending::Exited(exit)),
            Step::Deadline => Err(Ending::TimedOut),
            Step::Halted => Err(Ending::Halted),
        }
    }

    /// The init was ahead of the invokes: the first of them is billed for it (LG-06).
    pub(crate) fn take_init(&mut self) -> Option<Duration> {
        self.init.take()
    }

    /// Gives the process an invoke, with START ahead of everything it says.
    pub(crate) async fn begin(&mut self, delivery: Delivery, streams: bool, config: &Config) {
        self.lane.settle().await;
        let arn = delivery.context.arn.to_str().unwrap_or_default();
        let start = config.system_log.start(delivery.id, arn, &config.function.version);
        // The event leaves first, as somebody waits for it. The line still comes ahead of what the function says: it is
        // handed over before this task lets any other run, and the lane takes lines before output.
        self.session.assign(delivery, streams);
        self.lane.write(start);
    }

    /// The invoke is over: its last lines go behind what the function has said. With `wanted` the end of its log.
    pub(crate) async fn finish(&mut self, lines: String, wanted: bool) -> Option<String> {
        self.session.release();
        self.lane.after_output(lines, if wanted { Tail::Take } else { Tail::Drop });
        if wanted { self.lane.settle().await } else { None }
    }

    /// The next thing that happens, before `deadline` if there is one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn step(&mut self, deadline: Option<Instant>, halt: &CancellationToken) -> Step {
        tokio::select! {
            // What it said comes before how it ended, and both before our own limits.
            biased;
            event = self.session.event() => return Step::Session(event),
            exit = self.child.exited(), if self.exit.is_none() => self.exit = Some(exit),
            () = at(deadline) => return Step::Deadline,
            () = halt.cancelled() => return Step::Halted,
        }
        self.after_exit().await
    }

    /// A process that ends right behind its answer has still answered.
    async fn after_exit(&mut self) -> Step {
        if self.session.is_uploading()
            && let Ok(event) = tokio::time::timeout(UPLOAD_GRACE, self.session.event()).await
        {
            return Step::Session(event);
        }
        Step::Exited(self.exit.expect("the process has just ended"))
    }

    async fn exited(&mut self) {
        if self.exit.is_none() {
            self.exit = Some(self.child.exited().await);
        }
    }

    /// The peak of the memory so far, in MB.
    pub(crate) fn memory(&mut self) -> u64 {
        if self.exit.is_none() {
            self.peak.sample(self.child.pid());
        }
        self.peak.megabytes()
    }

    /// Ends the process, its group and what escaped from it, then writes the rest of its output and these lines.
    /// With `grace` it is asked first. Gives the end of the log where `tail` says so.
    pub(crate) async fn end(mut self, grace: Option<Duration>, lines: String, tail: Tail) -> Option<String> {
        if let Some(grace) = grace {
            // What it says to the signal comes behind the lines of its last invoke.
            self.lane.settle().await;
            self.child.terminate();
            let _ = tokio::time::timeout(grace, self.exited()).await;
        }
        self.child.kill();
        if tokio::time::timeout(KILL_LIMIT, self.exited()).await.is_err() {
            tracing::error!(pid = self.child.pid(), "the runtime does not end although it was killed");
        }
        let index = self.index.to_string();
        self.children.end_strays(|pid| procfs::has_variable(pid, env::BOOTSTRAP_INDEX, &index)).await;
        self.api.cancel();
        let log = self.lane.close(lines, tail).await;
        self.tasks.join(Duration::from_millis(50)).await;
        log
    }
}

/// Waits for the deadline, if there is one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
