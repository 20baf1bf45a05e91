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
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub(crate) use output::{Output, Tail};
use pipes::Pipes;
pub(crate) use pipes::{Said, Speaker, Voice};
pub(crate) use sink::Sink;

/// The worker's end of a lane.
#[derive(Debug)]
pub(crate) struct Lane {
    commands: mpsc::Sender<Command>,
    /// Lane → worker: the last [`Command::AfterOutput`] is written.
    settled: Option<Settled>,
    /// Nobody made room for a command in its time; until there is room again others do not wait for it.
    stuck: bool,
}

/// Lane → worker: a note is written; and the tail, if it was taken.
type Settled = oneshot::Receiver<Option<String>>;

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

/// The same for each of several invokes at a time: START, what extensions are told, and the end.
const COMMANDS_OF_ONE: usize = 4;

/// How long an event is held back so that the lines of the invoke before it come first, and any line waits for its turn.
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
    /// Starts a lane for so many invokes at a time; processes come later.
    pub(crate) fn start(output: Output, concurrency: usize, tasks: &Tasks) -> Self {
        let (commands, command_rx) = mpsc::channel(COMMANDS.saturating_add(COMMANDS_OF_ONE * concurrency));
        tasks.spawn("log lane", run(Pipes::new(), output, command_rx));
        Self { commands, settled: None, stuck: false }
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

    /// [`Lane::write`] for one of several invokes: the others do not wait for each other's lines, so this waits for room, at most
    /// a second.
    pub(crate) async fn write_in_turn(&mut self, note: Note) {
        if !note.is_empty() {
            self.send_in_turn(Command::Write(note)).await;
        }
    }

    /// [`Lane::after_output`] in the same way; gives what [`settle`] waits on.
    pub(crate) async fn after_output_in_turn(&mut self, note: Note, tail: Tail) -> Settled {
        let (written, settled) = oneshot::channel();
        self.send_in_turn(Command::AfterOutput(Last { note, tail, written })).await;
        settled
    }

    /// Waits until the note of [`Lane::after_output`] is written, at most a second; gives the tail that was taken there.
    pub(crate) async fn settle(&mut self) -> Option<String> {
        settle(self.settled.take()?).await
    }

    /// The same, not beyond `limit`.
    pub(crate) async fn settle_by(&mut self, limit: Instant) {
        if let Some(settled) = self.settled.take() {
            let _ = tokio::time::timeout_at(limit.min(Instant::now() + SETTLE), settled).await;
        }
    }

    /// Ends the lane: the rest of the output, then this note. The processes must be dead.
    pub(crate) async fn close(self, note: Note, tail: Tail) -> Option<String> {
        let (written, closed) = oneshot::channel();
        self.send(Command::Close(Last { note, tail, written }));
        tokio::time::timeout(CLOSE + SETTLE, closed).await.ok()?.ok()?
    }

    fn send(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            lost();
        }
    }

    async fn send_in_turn(&mut self, command: Command) {
        let sent = match self.commands.try_send(command) {
            Err(TrySendError::Full(command)) if !self.stuck => {
                matches!(tokio::time::timeout(SETTLE, self.commands.send(command)).await, Ok(Ok(())))
            }
            sent => sent.is_ok(),
        };
        self.stuck = !sent;
        if !sent {
            lost();
        }
    }
}

/// Waits until a note is written, at most a second; gives the tail that was taken there.
pub(crate) async fn settle(settled: Settled) -> Option<String> {
    tokio::time::timeout(SETTLE, settled).await.ok()?.ok()?
}

fn lost() {
    tracing::warn!("log lines were lost: stdout is not being read");
}

/// The lane's own loop.
async fn run(mut pipes: Pipes, output: Output, mut commands: mpsc::Receiver<Command>) {
    loop {
        let command = tokio::select! {
            // START is handed over before the event is, so that commands come before output that is ready as well.
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

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, mpsc as blocking};

    use tm_lambda::log::ApplicationLog;

    use super::*;
    use crate::telemetry::Hub;

    /// A stdout that keeps what it gets.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    /// A stdout that takes nothing until the other end is dropped.
    struct Shut(blocking::Receiver<()>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Write for Shut {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn note(text: String) -> Note {
        Note { lines: text, ..Note::default() }
    }

    fn lane(to: impl Write + Send + 'static, tasks: &Tasks) -> Lane {
        let (sink, _) = Sink::start(to).unwrap();
        Lane::start(Output::new(sink, ApplicationLog::default(), Hub::new(false)), 2, tasks)
    }

    #[tokio::test]
    async fn lg_01_lines_of_several_invokes_wait_for_their_turn() {
        let (kept, tasks) = (Kept::default(), Tasks::new());
        let mut lane = lane(kept.clone(), &tasks);
        let mut expected = String::new();
        for n in 0..500 {
            lane.write_in_turn(note(format!("start {n}\n"))).await;
            drop(lane.after_output_in_turn(note(format!("end {n}\n")), Tail::Drop).await);
            expected += &format!("start {n}\nend {n}\n");
        }
        let tail = lane.after_output_in_turn(note("last\n".to_owned()), Tail::Take).await;
        assert_eq!(settle(tail).await.as_deref(), Some("last\n"));
        lane.close(Note::default(), Tail::Keep).await;
        drop(tasks);
        // The thread behind it has a moment's work left.
        let written = || String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        for _ in 0..3000 {
            if written().ends_with("last\n") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(written(), expected + "last\n");
    }

    /// One wait for a stdout that nobody reads, and not one for each line.
    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_turn_has_an_end() {
        let (open, shut) = blocking::channel();
        let tasks = Tasks::new();
        let mut lane = lane(Shut(shut), &tasks);
        let began = Instant::now();
        // Twice what may be queued.
        for n in 0..500 {
            lane.write_in_turn(note(format!("{n:4095}\n"))).await;
        }
        assert_eq!(began.elapsed().as_secs(), SETTLE.as_secs());
        drop(open);
    }
}
