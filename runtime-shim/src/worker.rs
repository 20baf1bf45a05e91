//! One worker: a slot for a runtime process, supervised alone. The pool runs one task per worker.
//!
//! ```text
//! start -> first init (10 s) -> warm: idle <-> invoke
//!               | failed                | crash, timeout, exit
//!               v                       v
//!             cold: wait for an invoke, init again inside it (LC-04), then warm or cold
//! ```
//!
//! A dead process is replaced when there is work for it, never before: a function that crashes at once cannot spin, and
//! the caller who pays for the init sees what went wrong. From the third failed init in a row on there is a pause too.

mod caller;
mod concurrent;
mod ending;
mod environment;
mod extensions;
mod external;
mod platform;
mod session;
mod several;
mod timing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tm_lambda::extension::ShutdownReason;
use tm_lambda::log::{InitPhase, Report, Status};
use tm_lambda::telemetry::Span;
use tm_lambda::trace::Segment;
use tm_lambda::{FunctionError, RequestId};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::invocation::{Delivery, Invocation, Outcome, Responder};
use crate::logs::{Note, Output, Sink, Tail};
use crate::metrics::Metrics;
use crate::process::Launcher;
use crate::process::extensions::has_extensions;
use crate::queue::{Promise, Queue};
use crate::runtime_api::SharedApi;
use caller::Caller;
use ending::{Ending, Shutdown};
use environment::{Environment, Step};
use platform::Platform;
use session::Event;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) launcher: Launcher,
    pub(crate) sink: Sink,
    /// The one Runtime API of all workers; without it each has its own.
    pub(crate) api: Option<Arc<SharedApi>>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Finish what is there, then end.
    pub(crate) drain: CancellationToken,
    /// End now.
    pub(crate) halt: CancellationToken,
    /// Whether the last init of any worker went well.
    pub(crate) healthy: AtomicBool,
}

/// One slot.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    output: Output,
    platform: Platform,
    failed_inits: u32,
}

/// Where a worker stands between two invokes.
enum Stage {
    /// Its process waits for an event.
    Warm(Box<Environment>),
    /// It has no process.
    Cold,
    /// It is done.
    Stop,
}

/// An init that did not get to its first `next`.
struct FailedInit {
    ending: Ending,
    environment: Option<Box<Environment>>,
    /// What there is to tell of it.
    note: Note,
}

/// An invoke that a process has, as its last words name it.
#[derive(Clone, Debug)]
struct Run {
    id: RequestId,
    began: Instant,
    segment: Option<Segment>,
}

/// The figures of an invoke that is over.
struct Ran {
    run: Run,
    init: Option<Duration>,
    /// In MB.
    memory: u64,
    extension_overhead: Option<Span>,
}

/// The longest pause before another init.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        config: Arc<Config>,
        queue: Arc<Queue>,
        launcher: Launcher,
        sink: Sink,
        api: Option<Arc<SharedApi>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (drain, halt) = (CancellationToken::new(), CancellationToken::new());
        Self { config, queue, launcher, sink, api, metrics, drain, halt, healthy: AtomicBool::new(true) }
    }

    /// How many workers there may be at a time.
    pub(crate) fn most_workers(&self) -> usize {
        self.config.workers(has_extensions(&self.config.launch))
    }
}

// === impl Run ===

impl Run {
    fn of(delivery: &Delivery, began: Instant) -> Self {
        let trace = delivery.context.trace.as_ref().and_then(|trace| trace.to_str().ok());
        Self { id: delivery.id, began, segment: trace.and_then(Segment::sampled) }
    }
}

// === impl Ran ===

impl Ran {
    fn of(environment: &mut Environment, run: Run) -> Self {
        let (init, memory) = (environment.take_init(), environment.memory());
        Self { run, init, memory, extension_overhead: environment.extension_overhead() }
    }
}

// === impl Worker ===

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Self {
        let platform = Platform::new(Arc::clone(&shared.config));
        let hub = platform.hub().clone();
        let output = Output::new(shared.sink.clone(), shared.config.application_log, hub);
        Self { index, shared, output, platform, failed_inits: 0 }
    }

    /// Works until it is told to stop. `starting` is given back, and `initialised` answered, when the first init has
    /// ended, well or not (init errors never mark a deployment as broken).
    pub(crate) async fn run(mut self, starting: Promise, initialised: Option<oneshot::Sender<()>>) {
        // Until the very first init has ended nobody can have called, so nobody is left behind by stopping in it.
        let shared = Arc::clone(&self.shared);
        let stop = if initialised.is_some() { &shared.drain } else { &shared.halt };
        let mut stage = self.first_init(stop).await;
        drop(starting);
        drop(initialised);
        loop {
            stage = match stage {
                Stage::Warm(environment) if self.shared.config.concurrency > 1 => {
                    Box::pin(self.share(environment, None)).await
                }
                Stage::Warm(environment) => self.idle(environment).await,
                Stage::Cold => self.cold().await,
                Stage::Stop => return,
            };
        }
    }

    /// The init ahead of any invoke. Skipped when the last one of the whole pool failed: another one would only delay
    /// the caller, who pays for the next init anyway.
    async fn first_init(&mut self, stop: &CancellationToken) -> Stage {
        if !self.shared.healthy.load(Ordering::Relaxed) {
            return Stage::Cold;
        }
        let limit = Instant::now() + self.shared.config.init_timeout;
        match self.init(InitPhase::Init, limit, stop).await {
            Ok(environment) => Stage::Warm(environment),
            Err(FailedInit { ending: Ending::Halted, environment, .. }) => match environment {
                Some(environment) => self.stop(environment).await,
                None => Stage::Stop,
            },
            Err(FailedInit { ending, environment, note }) => {
                self.discard(environment, &ending, note, Tail::Keep).await;
                Stage::Cold
            }
        }
    }

    /// Starts a process and waits until it asks for its first event.
    async fn init(
        &mut self,
        phase: InitPhase,
        limit: Instant,
        stop: &CancellationToken,
    ) -> Result<Box<Environment>, FailedInit> {
        self.platform.hub().begin_init();
        let start = self.platform.init_start(phase);
        let began = Instant::now();
        let (output, platform) = (self.output.clone(), self.platform.clone());
        let result = match Environment::new(self.index, &self.shared, output, platform, phase).await {
            Ok(environment) => {
                let mut environment = Box::new(environment);
                environment.say(start);
                match Box::pin(environment.init(&self.shared, limit, stop)).await {
                    Ok(()) => Ok(environment),
                    Err(ending) => Err((ending, Some(environment))),
                }
            }
            Err(error) => {
                self.output.say(start).await;
                Err((Ending::NotStarted(error), None))
            }
        };
        self.platform.hub().end_init();
        self.shared.healthy.store(result.is_ok(), Ordering::Relaxed);
        if result.is_ok() {
            self.shared.metrics.init(began.elapsed());
        }
        self.failed_inits = if result.is_ok() { 0 } else { self.failed_inits.saturating_add(1) };
        result.map_err(|(ending, environment)| {
            tracing::info!(worker = self.index, %ending, "init failed");
            let duration = began.elapsed();
            let mut note = self.platform.not_launched(&ending);
            match &environment {
                Some(environment) => note.append(environment.init_failed(&ending, duration)),
                None => self.platform.init_end(&mut note, phase, Vec::new(), duration, &ending.status()),
            }
            FailedInit { ending, environment, note }
        })
    }

    /// Waits for work with a process that waits for an event.
    async fn idle(&mut self, mut environment: Box<Environment>) -> Stage {
        loop {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                // The process's own words first; work before the end, so that a drain leaves nothing behind.
                biased;
                step = environment.step(None, &shared.halt) => match step {
                    Step::Session(_) => {}
                    Step::Exited(exit) => {
                        tracing::warn!(worker = self.index, "{exit} while it was idle");
                        let failure = Shutdown::InOrder(ShutdownReason::Failure);
                        environment.end(failure, Note::default(), Tail::Keep).await;
                        return Stage::Cold;
                    }
                    Step::Extension(failure) => {
                        let ending = Ending::Extension(failure);
                        tracing::warn!(worker = self.index, "{ending} while it was idle");
                        environment.end(ending.shutdown(), Note::default(), Tail::Keep).await;
                        return Stage::Cold;
                    }
                    Step::Deadline | Step::Halted => return self.stop(environment).await,
                },
                invocation = shared.queue.pop() => {
                    return self.invoke(environment, invocation, Instant::now()).await;
                }
                () = shared.drain.cancelled() => return self.stop(environment).await,
            }
        }
    }

    /// Waits for work without a process, and starts one for it.
    async fn cold(&mut self) -> Stage {
        let shared = Arc::clone(&self.shared);
        let invocation = tokio::select! {
            biased;
            () = shared.halt.cancelled() => return Stage::Stop,
            invocation = shared.queue.pop() => invocation,
            () = shared.drain.cancelled() => return Stage::Stop,
        };
        let began = Instant::now();
        tokio::time::sleep_until((began + self.backoff()).min(invocation.expires)).await;
        match self.init(InitPhase::Invoke, invocation.expires, &shared.halt).await {
            Ok(mut environment) => {
                // It is inside the invoke's own duration.
                environment.take_init();
                if self.shared.config.concurrency > 1 {
                    return Box::pin(self.share(environment, Some((invocation, began)))).await;
                }
                self.invoke(environment, invocation, began).await
            }
            Err(failed) => self.failed_inside_invoke(failed, invocation, began).await,
        }
    }

    fn caller(&self, responder: Responder) -> Caller {
        Caller::new(responder, self.shared.config.strict, Arc::clone(&self.shared.metrics))
    }

    fn backoff(&self) -> Duration {
        match self.failed_inits.checked_sub(3) {
            None => Duration::ZERO,
            Some(more) => Duration::from_millis(100).saturating_mul(1 << more.min(10)).min(MAX_BACKOFF),
        }
    }

    /// The second failure is the invoke's result (LC-04).
    async fn failed_inside_invoke(
        &self,
        failed: FailedInit,
        invocation: Invocation,
        began: Instant,
    ) -> Stage {
        let FailedInit { ending, mut environment, mut note } = failed;
        let id = invocation.id();
        let error = ending.error(id, self.shared.config.function_timeout);
        self.platform.start_in(&mut note, &invocation.delivery);
        let memory = environment.as_mut().map_or(1, |environment| environment.memory());
        let run = Run::of(&invocation.delivery, began);
        let ran = Ran { run, init: None, memory, extension_overhead: None };
        self.last_words(&mut note, ran, &Some((&ending, &error)));
        let stop = matches!(ending, Ending::Halted);
        let mut caller = self.caller(invocation.responder);
        // Its init was all that ran.
        caller.settle(if stop { Outcome::Stopping } else { ending.outcome(error) });
        let log = self.discard(environment, &ending, note, tail_for(&caller)).await;
        caller.finish(log);
        if stop { Stage::Stop } else { Stage::Cold }
    }

    /// One invoke, from the event to the runtime's next `next` (LC-07).
    async fn invoke(
        &mut self,
        mut environment: Box<Environment>,
        invocation: Invocation,
        began: Instant,
    ) -> Stage {
        let Invocation { delivery, expires, responder, .. } = invocation;
        let run = Run::of(&delivery, began);
        let id = run.id;
        let mut caller = self.caller(responder);
        let _running = self.shared.metrics.start();
        environment.begin(delivery, caller.takes_streams(), expires).await;
        let ending = loop {
            match environment.step(Some(expires), &self.shared.halt).await {
                Step::Session(Event::Ready) => break None,
                Step::Session(Event::Streaming(offer)) => caller.stream(offer),
                Step::Session(Event::Uploaded(uploaded)) => caller.uploaded(id, uploaded),
                // The others belong to inits, or never get here.
                Step::Session(_) => {}
                Step::Exited(exit) => break Some(Ending::Exited(exit)),
                Step::Extension(failure) => break Some(Ending::Extension(failure)),
                Step::Deadline => break Some(Ending::TimedOut),
                Step::Halted => break Some(Ending::Halted),
            }
        };
        match ending {
            None => self.phase_ended(environment, run, caller).await,
            Some(ending) => self.broke_off(environment, run, ending, caller).await,
        }
    }

    async fn phase_ended(&self, mut environment: Box<Environment>, run: Run, caller: Caller) -> Stage {
        let mut note = Note::default();
        self.last_words(&mut note, Ran::of(&mut environment, run), &None);
        let log = environment.finish(note, caller.wants_log()).await;
        caller.finish(log);
        Stage::Warm(environment)
    }

    /// The invoke cannot go on. The caller hears it at once, unless it already has its answer.
    async fn broke_off(
        &self,
        mut environment: Box<Environment>,
        run: Run,
        ending: Ending,
        mut caller: Caller,
    ) -> Stage {
        let error = ending.error(run.id, self.shared.config.function_timeout);
        environment.runtime_failed(&ending);
        let mut note = Note::default();
        self.last_words(&mut note, Ran::of(&mut environment, run), &Some((&ending, &error)));
        let halted = matches!(ending, Ending::Halted);
        caller.settle(ending.outcome(error));
        let log = environment.end(ending.shutdown(), note, tail_for(&caller)).await;
        caller.finish(log);
        if halted { Stage::Stop } else { Stage::Cold }
    }

    /// What follows the function's output: why it failed, END, REPORT.
    fn last_words(&self, note: &mut Note, ran: Ran, failure: &Option<(&Ending, &FunctionError)>) {
        let config = &self.shared.config;
        let Ran { run: Run { id, began, segment }, init, memory, extension_overhead } = ran;
        let timed_out = matches!(failure, Some((Ending::TimedOut, _)));
        let report = Report {
            id,
            // LG-08: a timeout took exactly as long as it was allowed to.
            duration: if timed_out { config.function_timeout } else { began.elapsed() },
            init,
            memory_size: config.function.memory_size,
            max_memory: memory,
            status: failure.map_or(Status::Success, |(ending, _)| ending.status()),
            segment,
        };
        self.shared.metrics.phase(report.duration, memory);
        let error = failure.map(|(_, error)| error);
        self.platform.invoke_end(note, report, error, extension_overhead);
    }

    /// LC-20: TERM first, as users of Kubernetes expect.
    async fn stop(&self, environment: Box<Environment>) -> Stage {
        let halted = self.shared.halt.is_cancelled();
        let shutdown = if halted { Shutdown::AtOnce } else { Shutdown::InOrder(ShutdownReason::Spindown) };
        environment.end(shutdown, Note::default(), Tail::Keep).await;
        Stage::Stop
    }

    /// Ends what there is of an environment, and writes a note behind its output.
    async fn discard(
        &self,
        environment: Option<Box<Environment>>,
        ending: &Ending,
        note: Note,
        tail: Tail,
    ) -> Option<String> {
        match environment {
            Some(environment) => environment.end(ending.shutdown(), note, tail).await,
            None => {
                self.output.say(note).await;
                self.output.tail(tail)
            }
        }
    }
}

/// The invoke is over; its caller may want the end of its log.
fn tail_for(caller: &Caller) -> Tail {
    if caller.wants_log() { Tail::Take } else { Tail::Drop }
}
