//! The archive on stdin: exactly so many bytes, and never a wait without end.
//!
//! The other side may keep stdin open after the last byte, or vanish without closing it, so neither end of file nor a
//! blocking read can be relied on. A thread reads and a bounded channel hands over.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::Duration,
};

const CHUNK: usize = 128 * 1024;
const CHUNKS: usize = 8;

/// Reads `bytes` bytes of a source that may stand still.
pub(super) struct Input {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    left: u64,
    idle: Duration,
}

// === impl Input ===

impl Input {
    /// Starts to read. The thread ends with the source, or with the process.
    pub(super) fn new(mut source: impl Read + Send + 'static, bytes: u64, idle: Duration) -> Self {
        let (sender, chunks) = sync_channel(CHUNKS);
        std::thread::spawn(move || {
            let mut left = bytes;
            while left > 0 {
                let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
                let read = source.read(&mut chunk).map(|read| {
                    chunk.truncate(read);
                    chunk
                });
                left -= read.as_ref().map_or(left, |chunk| chunk.len() as u64);
                let last = read.as_ref().map_or(true, Vec::is_empty);
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        Self { chunks, current: Vec::new(), at: 0, left: bytes, idle }
    }

    /// How many bytes have not come yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn next(&mut self) -> io::Result<()> {
        let chunk = match self.chunks.recv_timeout(self.idle) {
            Ok(chunk) => chunk?,
            Err(RecvTimeoutError::Timeout) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nothing came for {} s", self.idle.as_secs()),
                ));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.current, self.at) = (chunk, 0);
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        if self.at == self.current.len() {
            self.next()?;
        }
        let count = buf.len().min(self.current.len() - self.at);
        buf[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    #[test]
    fn reads_so_many_and_no_more() {
        let mut input = Input::new(&b"hello world"[..], 5, IDLE);
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), input.left()), ("hello", 0));
    }

    #[test]
    fn an_early_end_is_an_error() {
        let error = io::copy(&mut Input::new(&b"hel"[..], 5, IDLE), &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn standing_still_is_an_error() {
        let (reader, _writer) = io::pipe().unwrap();
        let error =
            io::copy(&mut Input::new(reader, 5, Duration::from_millis(50)), &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
