//! A running environment: the runtime's process, external extensions, and everything that goes with them: a Runtime API, a
//! session, a log lane, a memory figure. One of AWS's environments is one worker, so each worker has extensions of its own.
//!
//! ```text
//! init   external extensions start, by name -> all have registered -> the runtime starts -> it and they call next
//! end    TERM to the runtime, KILL after its share -> SHUTDOWN to extensions that asked for it, KILL to the others
//!        -> they acknowledge or exit, or their time is over -> KILL to every group, everything is reaped
//! ```
//!
//! Where there are no external extensions the runtime starts at once, and one that fails is killed at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tm_lambda::extension::ShutdownReason;
use tm_lambda::limits::{INTERNAL_SHUTDOWN, RUNTIME_SHUTDOWN, SHUTDOWN_BUDGET};
use tm_lambda::log::{InitPhase, Status};
use tm_lambda::telemetry::{Span, Subscription};
use tm_lambda::{Deadline, RequestId, RuntimeExit, environment as env, error_type};
use tm_serve::Tasks;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::ending::{Ending, ExtensionFailure, Shutdown};
use super::external::{self, External};
use super::platform::Platform;
use super::session::{Event, Session};
use super::timing::Timing;
use crate::invocation::Delivery;
use crate::logs::{self, Lane, Note, Output, Speaker, Tail, Voice};
use crate::process::children::{Child, Children};
use crate::process::memory::Peak;
use crate::process::{LaunchError, StartError, Started, procfs};
use crate::runtime_api::{self, Entry, Link, SubscribeError, SubscribeReply};
use crate::telemetry;

/// One environment of a worker.
#[derive(Debug)]
pub(crate) struct Environment {
    index: usize,
    session: Session,
    /// Not there until all external extensions have registered.
    runtime: Option<Runtime>,
    /// How it ended, while the worker has yet to hear what it said before.
    untold: Option<RuntimeExit>,
    external: External,
    lane: Lane,
    peak: Peak,
    started: Instant,
    /// What the first invoke is billed for the init; taken by it.
    init: Option<Duration>,
    children: Arc<Children>,
    /// The Runtime API and the lane; they end with the environment.
    tasks: Tasks,
    api: CancellationToken,
    /// What brings telemetry to extensions ends a little earlier.
    senders: CancellationToken,
    platform: Platform,
    phase: InitPhase,
    address: SocketAddr,
    link: Link,
}

/// The runtime's process.
#[derive(Debug)]
struct Runtime {
    child: Child,
    exit: Option<RuntimeExit>,
    /// Its place in the shared Runtime API, where there is one.
    _entry: Option<Entry>,
}

/// A process that has ended.
#[derive(Debug)]
enum Gone {
    Runtime(RuntimeExit),
    Extension(String, RuntimeExit),
}

/// What happens in an environment.
#[derive(Debug)]
pub(crate) enum Step {
    /// Somebody called.
    Session(Event),
    /// The runtime's process ended.
    Exited(RuntimeExit),
    /// An extension failed.
    Extension(ExtensionFailure),
    /// The time is over.
    Deadline,
    /// The shim stops now.
    Halted,
}

/// How long a process may take to end by itself after it reported that it gives up.
const INIT_ERROR_GRACE: Duration = Duration::from_millis(500);

/// How long an answer that is on its way is waited for when its sender has ended.
const UPLOAD_GRACE: Duration = Duration::from_millis(100);

/// How long the kernel may take to end a killed process (it may be stuck in a device).
const KILL_LIMIT: Duration = Duration::from_secs(5);

// === impl Environment ===

impl Environment {
    /// An environment of worker `index` without processes, with a Runtime API of its own.
    pub(crate) async fn new(
        index: usize,
        shared: &Shared,
        output: Output,
        platform: Platform,
        phase: InitPhase,
    ) -> Result<Self, StartError> {
        let function = Arc::clone(&shared.config.function);
        let (session, link) = Session::new(function, shared.config.concurrency, platform.is_observed());
        let (tasks, api) = (Tasks::new(), CancellationToken::new());
        let address = match shared.api.as_ref().and_then(|api| api.told()) {
            Some(address) => address,
            None => runtime_api::serve_own(link.clone(), &tasks, api.clone()).await.map_err(|error| {
                StartError::Sandbox(format!("failed to bind a Runtime API port: {error}"))
            })?,
        };
        Ok(Self {
            index,
            session,
            runtime: None,
            untold: None,
            external: External::default(),
            lane: Lane::start(output, shared.config.concurrency, &tasks),
            peak: Peak::new(shared.most_workers() == 1),
            started: Instant::now(),
            init: None,
            children: shared.launcher.children(),
            tasks,
            api,
            senders: CancellationToken::new(),
            platform,
            phase,
            address,
            link,
        })
    }

    /// Puts a note ahead of everything that its processes say from now on.
    pub(crate) fn say(&self, note: Note) {
        self.lane.write(note);
    }

    /// Starts everything, and waits until everybody asked for their first event.
    pub(crate) async fn init(
        &mut self,
        shared: &Shared,
        limit: Instant,
        stop: &CancellationToken,
    ) -> Result<(), Ending> {
        self.start_extensions(shared).map_err(Ending::Extension)?;
        if !self.external.is_empty() {
            // LC-01: only then the runtime.
            self.init_event(limit, stop).await?;
        }
        self.start_runtime(shared).map_err(Ending::NotStarted)?;
        self.init_event(limit, stop).await?;
        let duration = self.started.elapsed();
        self.init = Some(duration);
        let mut note = Note::default();
        self.init_end(&mut note, &Status::Success, duration);
        self.lane.write(note);
        Ok(())
    }

    /// The init is over: what there is to tell of it.
    fn init_end(&self, note: &mut Note, status: &Status, duration: Duration) {
        self.platform.init_end(note, self.phase, self.session.statuses(), duration, status);
    }

    /// The same of one that went wrong.
    pub(crate) fn init_failed(&self, ending: &Ending, duration: Duration) -> Note {
        let mut note = Note::default();
        let status = ending.status();
        let entered = self.runtime.is_some() || matches!(ending, Ending::NotStarted(_));
        if entered && !self.session.runtime_is_up() {
            note = self.platform.init_runtime_done(self.phase, status.clone());
        }
        self.init_end(&mut note, &status, duration);
        note
    }

    /// EX-01.
    fn start_extensions(&mut self, shared: &Shared) -> Result<(), ExtensionFailure> {
        let paths = shared.launcher.extensions().map_err(|error| launch_failure(String::new(), error))?;
        if paths.is_empty() {
            return Ok(());
        }
        self.session.expect(paths.iter().map(|path| external::name_of(path)));
        let mut voices = Vec::new();
        let mut started = Ok(());
        for path in paths {
            match self.external.start(shared, &path, self.index, self.address, &self.link) {
                Ok(voice) => voices.push(voice),
                Err(error) => {
                    let name = external::name_of(&path);
                    self.session.not_launched(&name, error.kind);
                    started = Err(launch_failure(name, error));
                    break;
                }
            }
        }
        self.lane.listen(voices);
        started
    }

    fn start_runtime(&mut self, shared: &Shared) -> Result<(), StartError> {
        let Started { child, pipes } = shared.launcher.start(self.index, self.address)?;
        let entry = shared.api.as_ref().map(|api| api.enter(child.pid(), self.index, self.link.clone()));
        self.lane.listen(vec![Voice { speaker: Speaker::Function, pipes }]);
        self.runtime = Some(Runtime { child, exit: None, _entry: entry });
        Ok(())
    }

    /// The next thing that an init waits for.
    async fn init_event(&mut self, limit: Instant, stop: &CancellationToken) -> Result<(), Ending> {
        match self.step(Some(limit), stop).await {
            Step::Session(Event::Gathered | Event::Ready) => Ok(()),
            Step::Session(Event::InitError(error)) => {
                // It is expected to end by itself, with the last of its output (RT-36).
                self.serve_until(Instant::now() + INIT_ERROR_GRACE, Self::has_no_runtime).await;
                Err(Ending::InitError(error))
            }
            // No event was given, so none can be answered.
            Step::Session(_) => Err(Ending::Halted),
            Step::Extension(failure) => Err(Ending::Extension(failure)),
            Step::Exited(exit) => Err(Ending::Exited(exit)),
            Step::Deadline => Err(Ending::TimedOut),
            Step::Halted => Err(Ending::Halted),
        }
    }

    /// The init was ahead of the invokes: the first of them is billed for it (LG-06).
    pub(crate) fn take_init(&mut self) -> Option<Duration> {
        self.init.take()
    }

    /// Gives the process an invoke, with START ahead of everything it says, and behind the lines of the invoke before it; those
    /// are not waited for beyond `expires`.
    pub(crate) async fn begin(&mut self, delivery: Delivery, streams: bool, expires: Instant) {
        self.lane.settle_by(expires).await;
        self.lane.write(self.platform.start(&delivery));
        self.session.assign(delivery, streams, self.platform.is_observed());
    }

    /// How long extensions went on behind the runtime, where somebody looks.
    pub(crate) fn extension_overhead(&mut self) -> Option<Span> {
        self.session.timing().and_then(|timing| timing.extension_overhead())
    }

    /// The invoke is over: its last note goes behind what the function has said. With `wanted` the end of its log.
    pub(crate) async fn finish(&mut self, note: Note, wanted: bool) -> Option<String> {
        self.session.release();
        self.lane.after_output(note, if wanted { Tail::Take } else { Tail::Drop });
        if wanted { self.lane.settle().await } else { None }
    }

    /// Whether a process that takes several invokes waits for another one.
    pub(super) fn is_free(&mut self) -> bool {
        self.session.several().is_some_and(|several| several.is_free())
    }

    /// How many invokes that timed out it has not come back from.
    pub(super) fn lost(&mut self) -> usize {
        self.session.several().map_or(0, |several| several.lost())
    }

    /// Gives the process an invoke beside others, with START ahead of what it says. Where somebody looks, its time is taken
    /// from now on.
    pub(super) async fn begin_beside(&mut self, delivery: Delivery, streams: bool) -> Option<Timing> {
        self.lane.write_in_turn(self.platform.start(&delivery)).await;
        if let Some(several) = self.session.several() {
            several.assign(delivery, streams);
        }
        self.platform.is_observed().then(Timing::start)
    }

    /// One of several invokes is over.
    pub(super) fn release(&mut self, id: RequestId) {
        if let Some(several) = self.session.several() {
            several.release(id);
        }
    }

    /// The time of one of several invokes is over.
    pub(super) fn give_up(&mut self, id: RequestId) {
        if let Some(several) = self.session.several() {
            several.give_up(id);
        }
    }

    /// The last words about one of several invokes; `then` gets the end of the log where it was taken. The others do not wait
    /// for that.
    pub(super) async fn finish_beside(
        &mut self,
        note: Note,
        tail: Tail,
        then: impl FnOnce(Option<String>) + Send + 'static,
    ) {
        let settled = self.lane.after_output_in_turn(note, tail).await;
        if tail == Tail::Take {
            self.tasks.spawn("tail of the log", async move { then(logs::settle(settled).await) });
        } else {
            then(None);
        }
    }

    /// The next thing that happens, before `deadline` if there is one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn step(&mut self, deadline: Option<Instant>, halt: &CancellationToken) -> Step {
        loop {
            let step = tokio::select! {
                // What it said comes before how it ended, and both before our own limits.
                biased;
                event = self.session.event() => self.heard(event),
                gone = gone(&mut self.untold, &mut self.runtime, &mut self.external) => self.after_exit(gone).await,
                () = at(deadline) => Some(Step::Deadline),
                () = halt.cancelled() => Some(Step::Halted),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// What the worker must know of a call; nothing where it is our own business.
    fn heard(&mut self, event: Event) -> Option<Step> {
        match event {
            Event::ExtensionFailed(failure) => return Some(Step::Extension(failure)),
            Event::Registered(name) => self.platform.hub().resume(&name, &self.tasks, &self.senders),
            Event::Subscribe(name, subscription, reply) => self.subscribe(&name, subscription, reply),
            Event::RuntimeDone => self.runtime_done(Status::Success),
            event => return Some(Step::Session(event)),
        }
        None
    }

    fn subscribe(&mut self, name: &str, subscription: Subscription, reply: SubscribeReply) {
        let (api, types) = (subscription.api, subscription.types.clone());
        let subscribed = self.platform.hub().subscribe(name, subscription, &self.tasks, &self.senders);
        if let Ok(again) = subscribed {
            self.lane.write(self.platform.subscribed(api, name, again, types));
        }
        let _ = reply.send(subscribed.map(|_| ()).map_err(SubscribeError::Subscription));
    }

    /// The runtime's part of the phase is over, and told of before extensions are done: some wait for that.
    fn runtime_done(&mut self, status: Status) {
        let note = match (self.session.current(), self.session.timing()) {
            (Some(id), Some(timing)) => self.platform.runtime_done(id, status, timing),
            (None, _) => self.platform.init_runtime_done(self.phase, status),
            (Some(_), None) => return,
        };
        self.lane.after_output(note, Tail::Keep);
    }

    /// The invoke broke off; the runtime will not be done by itself.
    pub(crate) fn runtime_failed(&mut self, ending: &Ending) {
        if self.session.timing().is_some_and(|timing| !timing.is_done()) {
            self.runtime_done(ending.runtime_status());
        }
    }

    /// A process that ends right behind its answer has still answered.
    async fn after_exit(&mut self, gone: Gone) -> Option<Step> {
        let exit = match gone {
            Gone::Extension(name, exit) => return Some(Step::Extension(self.crashed(name, exit))),
            Gone::Runtime(exit) => exit,
        };
        if self.session.is_uploading()
            && let Ok(event) = tokio::time::timeout(UPLOAD_GRACE, self.session.event()).await
        {
            self.untold = Some(exit);
            return self.heard(event);
        }
        Some(Step::Exited(exit))
    }

    /// LC-12: the process of an extension ended while nobody had asked it to.
    fn crashed(&mut self, name: String, exit: RuntimeExit) -> ExtensionFailure {
        self.session.gone(&name);
        ExtensionFailure { name, error: error_type::EXTENSION_CRASH, reason: exit.of_extension() }
    }

    /// The peak of the memory so far, in MB.
    pub(crate) fn memory(&mut self) -> u64 {
        let running = self.runtime.iter().filter(|runtime| runtime.exit.is_none());
        self.peak.sample(running.map(|runtime| runtime.child.pid()).chain(self.external.pids()));
        self.peak.megabytes()
    }

    /// Ends all processes, their groups and what escaped from them, then writes the rest of their output and this note. What
    /// subscribers have not got by then they get in the next environment. Gives the end of the log where `tail` says so.
    pub(crate) async fn end(mut self, shutdown: Shutdown, note: Note, tail: Tail) -> Option<String> {
        if let Shutdown::InOrder(reason) = shutdown {
            let (budget, share) = self.times(reason);
            if !share.is_zero() {
                // What is said from now on comes behind the lines of the last invoke.
                self.flush().await;
            }
            let began = Instant::now();
            self.end_runtime(began + share).await;
            self.end_extensions(reason, began + budget).await;
        }
        self.senders.cancel();
        self.platform.hub().suspend();
        self.kill_all().await;
        let index = self.index.to_string();
        self.children.end_strays(|pid| procfs::has_variable(pid, env::BOOTSTRAP_INDEX, &index)).await;
        self.api.cancel();
        let log = self.lane.close(note, tail).await;
        self.tasks.join(Duration::from_millis(50)).await;
        log
    }

    /// LM-19: all of a shutdown, and the runtime's share of it. Without extensions nothing is AWS's time at the end of a
    /// failed environment; a container that is stopped gives its runtime some, as users of Kubernetes expect (LC-20).
    fn times(&self, reason: ShutdownReason) -> (Duration, Duration) {
        if !self.external.is_empty() {
            return (SHUTDOWN_BUDGET, RUNTIME_SHUTDOWN);
        }
        let all = match reason {
            _ if !self.session.extensions().is_empty() => INTERNAL_SHUTDOWN,
            ShutdownReason::Spindown => SHUTDOWN_BUDGET,
            ShutdownReason::Timeout | ShutdownReason::Failure => Duration::ZERO,
        };
        (all, all)
    }

    /// LC-17: the runtime ends first.
    async fn end_runtime(&mut self, deadline: Instant) {
        let Some(runtime) = self.runtime.as_ref().filter(|runtime| runtime.exit.is_none()) else { return };
        if deadline > Instant::now() {
            runtime.child.terminate();
            self.serve_until(deadline, Self::has_no_runtime).await;
        }
        self.kill_runtime().await;
    }

    async fn kill_runtime(&mut self) {
        if let Some(runtime) = &self.runtime {
            runtime.child.kill();
        }
        self.serve_until(Instant::now() + KILL_LIMIT, Self::has_no_runtime).await;
        if !self.has_no_runtime() {
            tracing::error!(worker = self.index, "the runtime does not end although it was killed");
        }
    }

    /// SHUTDOWN to those that asked for it; the others are killed outright.
    async fn end_extensions(&mut self, reason: ShutdownReason, deadline: Instant) {
        if self.external.is_empty() {
            return;
        }
        // The runtime's last words come before SHUTDOWN.
        self.flush().await;
        let left = deadline.saturating_duration_since(Instant::now());
        self.session.shut_down(reason, Deadline::after(Timestamp::now(), left));
        self.external.kill(|name| !self.session.extensions().awaited(name));
        self.serve_until(deadline, |environment| environment.session.extensions().is_down()).await;
        for status in self.session.statuses() {
            if self.session.extensions().awaited(&status.name) {
                tracing::warn!(
                    extension = status.name,
                    "killed: it did not acknowledge SHUTDOWN in its time"
                );
            }
        }
    }

    /// Waits a moment until all output so far is in the log, and with subscribers.
    async fn flush(&mut self) {
        if self.platform.hub().is_active() {
            self.lane.after_output(Note::default(), Tail::Keep);
        }
        self.lane.settle().await;
        self.platform.hub().flush(Instant::now() + telemetry::FLUSH).await;
    }

    async fn kill_all(&mut self) {
        self.external.kill(|_| true);
        self.kill_runtime().await;
        self.serve_until(Instant::now() + KILL_LIMIT, |environment| environment.external.all_exited()).await;
        if !self.external.all_exited() {
            tracing::error!(worker = self.index, "an extension does not end although it was killed");
        }
    }

    /// Answers calls, and notices ends, until `done` or the deadline.
    async fn serve_until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            tokio::select! {
                biased;
                event = self.session.event() => drop(self.heard(event)),
                _ = exited(&mut self.runtime) => {}
                (name, _) = self.external.exited() => self.session.gone(&name),
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }

    fn has_no_runtime(&self) -> bool {
        self.runtime.as_ref().is_none_or(|runtime| runtime.exit.is_some())
    }
}

fn launch_failure(name: String, error: LaunchError) -> ExtensionFailure {
    ExtensionFailure { name, error: error_type::EXTENSION_LAUNCH_ERROR, reason: error.reason }
}

/// Waits for an end that the worker has not heard of.
async fn gone(
    untold: &mut Option<RuntimeExit>,
    runtime: &mut Option<Runtime>,
    external: &mut External,
) -> Gone {
    if let Some(exit) = untold.take() {
        return Gone::Runtime(exit);
    }
    tokio::select! {
        biased;
        exit = exited(runtime) => Gone::Runtime(exit),
        (name, exit) = external.exited() => Gone::Extension(name, exit),
    }
}

/// Waits for the end of the runtime; for ever where there is none, or where its end is known.
async fn exited(runtime: &mut Option<Runtime>) -> RuntimeExit {
    let Some(runtime) = runtime.as_mut().filter(|runtime| runtime.exit.is_none()) else {
        return std::future::pending().await;
    };
    let exit = runtime.child.exited().await;
    runtime.exit = Some(exit);
    exit
}

/// Waits for the deadline, if there is one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
