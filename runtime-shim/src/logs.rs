//! What a worker says: its processes' output and the platform's lines around it, as whole lines on the shim's stdout.
//!
//! One [`Lane`] per environment owns the pipes of its processes. The worker hands it the platform's lines, and the lane puts them where they
//! belong: output that was written before a line was handed over comes before it (LG-02). Nothing is ever waited for by
//! the worker without a limit, so a stuck stdout delays logs and the function that prints them, never deadlines.

mod lines;
mod output;
mod pipes;
mod sink;

use std::time::Duration;

use tm_lambda::telemetry::Stamped;
use tm_serve::Tasks;
use tokio::sync::{mpsc, oneshot};

pub(crate) use output::{Output, Tail};
use pipes::Pipes;
pub(crate) use pipes::{Said, Speaker, Voice};
pub(crate) use sink::Sink;

/// The worker's end of a lane.
#[derive(Debug)]
pub(crate) struct Lane {
    commands: mpsc::Sender<Command>,
    /// Lane → worker: the last [`Command::AfterOutput`] is written.
    settled: Option<oneshot::Receiver<Option<String>>>,
}

#[derive(Debug)]
enum Command {
    /// Listen to these processes, too.
    Listen(Vec<Voice>),
    /// Write this now.
    Write(Note),
    /// Write what the function has said so far, then this.
    AfterOutput(Last),
    /// Write everything until the pipes close (or the time is over), then this, and end.
    Close(Last),
}

/// What the platform says at one moment.
#[derive(Debug, Default)]
pub(crate) struct Note {
    /// For the log, whole.
    pub(crate) lines: String,
    /// For the log's tail, where that is in JSON: records of all levels (LG-11).
    pub(crate) unfiltered: String,
    /// For subscribers.
    pub(crate) records: Vec<Stamped>,
}

/// A note that ends something.
#[derive(Debug)]
struct Last {
    note: Note,
    /// What becomes of the log's tail behind them.
    tail: Tail,
    /// Lane → worker: they are written; and the tail, if it was taken.
    written: oneshot::Sender<Option<String>>,
}

/// More lines than any invoke makes; a lane that is stuck this far back loses platform lines.
const COMMANDS: usize = 64;

/// How long an event is held back so that the lines of the invoke before it come first.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the pipes of a dead process may stay open: a grandchild that escaped may hold them.
const CLOSE: Duration = Duration::from_millis(250);

// === impl Note ===

impl Note {
    /// Puts another one behind it.
    pub(crate) fn append(&mut self, other: Self) {
        self.lines.push_str(&other.lines);
        self.unfiltered.push_str(&other.unfiltered);
        self.records.extend(other.records);
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.unfiltered.is_empty() && self.records.is_empty()
    }
}

// === impl Lane ===

impl Lane {
    /// Starts a lane; processes come later.
    pub(crate) fn start(output: Output, tasks: &Tasks) -> Self {
        let (commands, command_rx) = mpsc::channel(COMMANDS);
        tasks.spawn("log lane", run(Pipes::new(), output, command_rx));
        Self { commands, settled: None }
    }

    /// Takes the output of processes that were just started.
    pub(crate) fn listen(&self, voices: Vec<Voice>) {
        self.send(Command::Listen(voices));
    }

    /// Puts a note ahead of everything that the function says from now on.
    pub(crate) fn write(&self, note: Note) {
        if note.is_empty() {
            return;
        }
        self.send(Command::Write(note));
    }

    /// Puts a note behind everything that the function has said so far.
    pub(crate) fn after_output(&mut self, note: Note, tail: Tail) {
        let (written, settled) = oneshot::channel();
        self.send(Command::AfterOutput(Last { note, tail, written }));
        self.settled = Some(settled);
    }

    /// Waits until the note of [`Lane::after_output`] is written, at most a second; gives the tail that was taken there.
    pub(crate) async fn settle(&mut self) -> Option<String> {
        let settled = self.settled.take()?;
        tokio::time::timeout(SETTLE, settled).await.ok()?.ok()?
    }

    /// Ends the lane: the rest of the output, then this note. The processes must be dead.
    pub(crate) async fn close(self, note: Note, tail: Tail) -> Option<String> {
        let (written, closed) = oneshot::channel();
        self.send(Command::Close(Last { note, tail, written }));
        tokio::time::timeout(CLOSE + SETTLE, closed).await.ok()?.ok()?
    }

    fn send(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            tracing::warn!("log lines were lost: stdout is not being read");
        }
    }
}

/// The lane's own loop.
async fn run(mut pipes: Pipes, output: Output, mut commands: mpsc::Receiver<Command>) {
    loop {
        let command = tokio::select! {
            // START is handed over before the event is, so commands come before output that is ready as well.
            biased;
            command = commands.recv() => command,
            chunk = pipes.chunk() => {
                output.said(chunk).await;
                continue;
            }
        };
        match command {
            Some(Command::Listen(voices)) => voices.into_iter().for_each(|voice| pipes.add(voice)),
            Some(Command::Write(note)) => output.note(note).await,
            Some(Command::AfterOutput(Last { note, tail, written })) => {
                output.said(pipes.available()).await;
                output.note(note).await;
                let _ = written.send(output.tail(tail));
            }
            Some(Command::Close(Last { note, tail, written })) => {
                finish(&mut pipes, &output).await;
                output.note(note).await;
                let _ = written.send(output.tail(tail));
                return;
            }
            None => return finish(&mut pipes, &output).await,
        }
    }
}

/// The rest of the output until all pipes are closed, unfinished lines included.
async fn finish(pipes: &mut Pipes, output: &Output) {
    let rest = async {
        while !pipes.closed() {
            output.said(pipes.chunk().await).await;
        }
    };
    let _ = tokio::time::timeout(CLOSE, rest).await;
    output.said(pipes.unfinished()).await;
}
