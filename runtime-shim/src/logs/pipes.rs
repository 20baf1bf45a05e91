//! The two output pipes of a process, each framed into lines on its own.

use std::io;

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use tokio::net::unix::pipe;

use super::lines::Lines;

/// stdout and stderr of one process.
#[derive(Debug)]
pub(crate) struct Pipes {
    streams: [Stream; 2],
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Stream {
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
    pub(crate) fn new(pipes: [pipe::Receiver; 2]) -> Self {
        let streams = pipes.map(|pipe| Stream { pipe: Some(pipe), lines: Lines::default() });
        Self { streams, buffer: vec![0; BUFFER].into_boxed_slice() }
    }

    /// The next whole lines of either stream; possibly none. Waits for ever once both are closed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn chunk(&mut self) -> Bytes {
        let [out, err] = &mut self.streams;
        let stream = tokio::select! {
            () = out.readable() => out,
            () = err.readable() => err,
        };
        stream.read_once(&mut self.buffer, |pipe, buffer| pipe.try_read(buffer))
    }

    /// Whole lines of what has been written so far, without waiting.
    pub(crate) fn available(&mut self) -> Bytes {
        let mut all = BytesMut::new();
        for stream in &mut self.streams {
            let mut total = 0;
            while total < MAX_PIPE {
                // Past the runtime's own idea of readiness, which may be a moment behind the pipe.
                let mut size = 0;
                let lines = stream.read_once(&mut self.buffer, |pipe, buffer| {
                    size = nix::unistd::read(&*pipe, buffer).map_err(io::Error::from)?;
                    Ok(size)
                });
                all.extend_from_slice(&lines);
                total += size;
                if size == 0 {
                    break;
                }
            }
        }
        all.freeze()
    }

    /// Whether both streams are closed.
    pub(crate) fn closed(&self) -> bool {
        self.streams.iter().all(|stream| stream.pipe.is_none())
    }

    /// The unfinished lines of both streams.
    pub(crate) fn unfinished(&mut self) -> Bytes {
        let mut all = BytesMut::new();
        for stream in &mut self.streams {
            all.extend_from_slice(&stream.lines.finish());
        }
        all.freeze()
    }
}

// === impl Stream ===

impl Stream {
    async fn readable(&mut self) {
        match &self.pipe {
            // An error shows again when the pipe is read.
            Some(pipe) => drop(pipe.readable().await),
            None => std::future::pending().await,
        }
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
