//! A worker whose process takes several invokes at a time (`TM_MAX_CONCURRENCY`, section 1.10), in the manner of Lambda Managed
//! Instances. The worker takes an invoke whenever its process waits for one; an invoke ends with its answer, as nobody can tell
//! which `next` follows which.
//!
//! A time-out fails its own invoke only, while others run. The process is replaced as soon as it holds nothing else.

use std::sync::Arc;

use tm_lambda::FunctionError;
use tm_lambda::log::Status;
use tokio::time::Instant;

use super::caller::Caller;
use super::ending::Ending;
use super::environment::{Environment, Step};
use super::session::Event;
use super::several::Answer;
use super::timing::Timing;
use super::{Ran, Run, Stage, Worker, tail_for};
use crate::invocation::Invocation;
use crate::logs::{Note, Tail};
use crate::metrics::Running;

/// One of the invokes.
#[derive(Debug)]
struct Job {
    run: Run,
    expires: Instant,
    caller: Caller,
    /// Where its time goes, where somebody looks.
    timing: Option<Timing>,
    _running: Running,
}

// === impl Worker ===

impl Worker {
    /// Works with a process that waits for events, until it ends or is told to.
    pub(super) async fn share(
        &mut self,
        mut environment: Box<Environment>,
        first: Option<(Invocation, Instant)>,
    ) -> Stage {
        let shared = Arc::clone(&self.shared);
        let mut jobs: Vec<Job> = Vec::new();
        if let Some((invocation, began)) = first {
            jobs.push(self.start_job(&mut environment, invocation, began).await);
        }
        let ending = loop {
            if jobs.is_empty() && environment.lost() > 0 {
                // LC-11, now that nobody else is harmed.
                break Ending::TimedOut;
            }
            let free = jobs.len() < shared.config.concurrency && environment.is_free();
            let deadline = jobs.iter().map(|job| job.expires).min();
            tokio::select! {
                // The process's own words first; work before the end, so that a drain leaves nothing behind.
                biased;
                step = environment.step(deadline, &shared.halt) => match step {
                    Step::Session(Event::Several(answer)) => {
                        self.answered(&mut environment, &mut jobs, answer).await;
                    }
                    Step::Session(_) => {}
                    Step::Exited(exit) => break Ending::Exited(exit),
                    Step::Extension(failure) => break Ending::Extension(failure),
                    Step::Deadline => self.expire(&mut environment, &mut jobs).await,
                    Step::Halted => break Ending::Halted,
                },
                invocation = shared.queue.pop(), if free => {
                    let job = self.start_job(&mut environment, invocation, Instant::now()).await;
                    jobs.push(job);
                }
                () = shared.drain.cancelled(), if jobs.is_empty() => return self.stop(environment).await,
            }
        };
        self.end_shared(environment, jobs, ending).await
    }

    async fn start_job(&self, environment: &mut Environment, invocation: Invocation, began: Instant) -> Job {
        let Invocation { delivery, expires, responder, .. } = invocation;
        let (run, caller) = (Run::of(&delivery, began), self.caller(responder));
        let timing = environment.begin_beside(delivery, caller.takes_streams()).await;
        Job { run, expires, caller, timing, _running: self.shared.metrics.start() }
    }

    /// The process has sent something.
    async fn answered(&self, environment: &mut Environment, jobs: &mut Vec<Job>, answer: Answer) {
        match answer {
            Answer::Streaming(id, offer) => {
                if let Some(job) = jobs.iter_mut().find(|job| job.run.id == id) {
                    job.caller.stream(offer);
                }
            }
            Answer::Uploaded(id, uploaded) => {
                environment.release(id);
                let Some(at) = jobs.iter().position(|job| job.run.id == id) else { return };
                let mut job = jobs.swap_remove(at);
                if let Some(timing) = &mut job.timing {
                    timing.answered(uploaded.size());
                }
                job.caller.uploaded(id, uploaded);
                self.finish_job(environment, job, jobs.is_empty(), None).await;
            }
        }
    }

    /// Invokes whose time is over. Their handlers may be at work for ever.
    async fn expire(&self, environment: &mut Environment, jobs: &mut Vec<Job>) {
        let now = Instant::now();
        while let Some(at) = jobs.iter().position(|job| job.expires <= now) {
            let mut job = jobs.swap_remove(at);
            environment.give_up(job.run.id);
            let ending = Ending::TimedOut;
            let error = ending.error(job.run.id, self.shared.config.function_timeout);
            job.caller.settle(ending.outcome(error.clone()));
            self.finish_job(environment, job, jobs.is_empty(), Some((&ending, &error))).await;
        }
    }

    /// END and REPORT, and what the caller still waits for. The tail of the log is everybody's who is there.
    async fn finish_job(
        &self,
        environment: &mut Environment,
        job: Job,
        last: bool,
        failure: Option<(&Ending, &FunctionError)>,
    ) {
        let mut note = Note::default();
        self.last_of(&mut note, environment, &job, failure);
        let tail = match tail_for(&job.caller) {
            Tail::Drop if !last => Tail::Keep,
            tail => tail,
        };
        environment.finish_beside(note, tail, |log| job.caller.finish(log)).await;
    }

    /// What there is to tell at the end of one invoke.
    fn last_of(
        &self,
        note: &mut Note,
        environment: &mut Environment,
        job: &Job,
        failure: Option<(&Ending, &FunctionError)>,
    ) {
        if let Some(timing) = job.timing {
            let mut timing = timing;
            timing.done();
            let status = failure.map_or(Status::Success, |(ending, _)| ending.runtime_status());
            note.append(self.platform.runtime_done(job.run.id, status, &timing));
        }
        let (init, memory) = (environment.take_init(), environment.memory());
        let ran = Ran { run: job.run.clone(), init, memory, extension_overhead: None };
        self.last_words(note, ran, &failure);
    }

    /// The process cannot go on, and nothing that it has can.
    async fn end_shared(&self, environment: Box<Environment>, jobs: Vec<Job>, ending: Ending) -> Stage {
        let mut environment = environment;
        let halted = matches!(ending, Ending::Halted);
        let (mut note, mut waiting) = (Note::default(), Vec::new());
        for mut job in jobs {
            let error = ending.error(job.run.id, self.shared.config.function_timeout);
            self.last_of(&mut note, &mut environment, &job, Some((&ending, &error)));
            job.caller.settle(ending.outcome(error));
            waiting.push(job.caller);
        }
        let wanted = waiting.iter().any(Caller::wants_log);
        let log =
            environment.end(ending.shutdown(), note, if wanted { Tail::Take } else { Tail::Drop }).await;
        waiting.into_iter().for_each(|caller| caller.finish(log.clone()));
        if halted { Stage::Stop } else { Stage::Cold }
    }
}
