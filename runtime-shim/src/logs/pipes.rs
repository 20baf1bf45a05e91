//! The output pipes of an environment's processes, each framed into lines on its own.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use tokio::net::unix::pipe;

use super::lines::Lines;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The runtime's process.
    Function,
    /// The process of an external extension.
    Extension,
}

/// stdout and stderr of one process.
#[derive(Debug)]
pub(crate) struct Voice {
    /// Whose they are.
    pub(crate) speaker: Speaker,
    /// Both of them.
    pub(crate) pipes: [pipe::Receiver; 2],
}

/// Whole lines, by who said them; possibly none.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The runtime's.
    pub(crate) function: Bytes,
    /// The extensions'.
    pub(crate) extension: Bytes,
}

/// stdout and stderr of every process of an environment.
#[derive(Debug)]
pub(crate) struct Pipes {
    streams: Vec<Stream>,
    /// Where to look first, so that a busy stream does not keep the others waiting.
    turn: usize,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Stream {
    speaker: Speaker,
    /// `None` once the other end is closed.
    pipe: Option<pipe::Receiver>,
    lines: Lines,
}

/// What is read at once: a pipe's usual capacity.
const BUFFER: usize = 64 * 1024;

/// The largest capacity of a pipe: what was written before a moment is at most this much.
const MAX_PIPE: usize = 1024 * 1024;

// === impl Pipes ===

impl Pipes {
    /// No process's yet.
    pub(crate) fn new() -> Self {
        Self { streams: Vec::new(), turn: 0, buffer: vec![0; BUFFER].into_boxed_slice() }
    }

    /// Listens to one more process.
    pub(crate) fn add(&mut self, voice: Voice) {
        let Voice { speaker, pipes } = voice;
        self.streams.extend(pipes.map(|pipe| Stream { speaker, pipe: Some(pipe), lines: Lines::default() }));
    }

    /// The next whole lines of any stream; possibly none. Waits for ever once all are closed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn chunk(&mut self) -> Said {
        let at = poll_fn(|context| self.poll_readable(context)).await;
        self.turn = at + 1;
        let stream = &mut self.streams[at];
        let lines = stream.read_once(&mut self.buffer, |pipe, buffer| pipe.try_read(buffer));
        Said::one(stream.speaker, lines)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<usize> {
        let count = self.streams.len();
        let mut order = (0..count).map(|offset| (self.turn + offset) % count);
        let readable = order.find(|at| {
            // An error shows again when the pipe is read.
            self.streams[*at].pipe.as_ref().is_some_and(|pipe| pipe.poll_read_ready(context).is_ready())
        });
        readable.map_or(Poll::Pending, Poll::Ready)
    }

    /// Whole lines of what has been written so far, without waiting.
    pub(crate) fn available(&mut self) -> Said {
        let buffer = &mut self.buffer;
        Said::collect(self.streams.iter_mut().map(|stream| (stream.speaker, stream.available(buffer))))
    }

    /// Whether all streams are closed.
    pub(crate) fn closed(&self) -> bool {
        self.streams.iter().all(|stream| stream.pipe.is_none())
    }

    /// The unfinished lines of all streams.
    pub(crate) fn unfinished(&mut self) -> Said {
        Said::collect(self.streams.iter_mut().map(|stream| (stream.speaker, stream.lines.finish())))
    }
}

// === impl Said ===

impl Said {
    fn one(speaker: Speaker, lines: Bytes) -> Self {
        match speaker {
            Speaker::Function => Self { function: lines, extension: Bytes::new() },
            Speaker::Extension => Self { function: Bytes::new(), extension: lines },
        }
    }

    fn collect(all: impl Iterator<Item = (Speaker, Bytes)>) -> Self {
        let (mut function, mut extension) = (BytesMut::new(), BytesMut::new());
        for (speaker, lines) in all {
            match speaker {
                Speaker::Function => function.extend_from_slice(&lines),
                Speaker::Extension => extension.extend_from_slice(&lines),
            }
        }
        Self { function: function.freeze(), extension: extension.freeze() }
    }
}

// === impl Stream ===

impl Stream {
    /// What has been written so far, at most a pipe's worth.
    fn available(&mut self, buffer: &mut [u8]) -> Bytes {
        let mut all = BytesMut::new();
        let mut total = 0;
        while total < MAX_PIPE {
            // Past the runtime's own idea of readiness, which may be a moment behind the pipe.
            let mut size = 0;
            let lines = self.read_once(buffer, |pipe, buffer| {
                size = nix::unistd::read(&*pipe, buffer).map_err(io::Error::from)?;
                Ok(size)
            });
            all.extend_from_slice(&lines);
            total += size;
            if size == 0 {
                break;
            }
        }
        all.freeze()
    }

    fn read_once(
        &mut self,
        buffer: &mut [u8],
        read: impl FnOnce(&mut pipe::Receiver, &mut [u8]) -> io::Result<usize>,
    ) -> Bytes {
        let Some(pipe) = &mut self.pipe else { return Bytes::new() };
        match read(pipe, buffer) {
            Ok(0) => self.pipe = None,
            Ok(size) => return self.lines.push(&buffer[..size]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
            Err(_) => self.pipe = None,
        }
        Bytes::new()
    }
}
