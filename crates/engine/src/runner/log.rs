//! A container's log: lines with time and stream, as CRI writes them (`2026-01-02T03:04:05.123456789Z stdout F text`),
//! in a file of bounded size.
//!
//! The runner appends, `pods/log` reads and follows. When the file reaches its limit it becomes `NAME.1` and a new one is
//! begun: at most two times [`FILE_LIMIT`] are kept of a container.

use std::{
    collections::VecDeque,
    io::Write,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fs_err as fs;
use futures::stream::{BoxStream, StreamExt};
use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{Mutex, watch},
};

use crate::node::LogOptions;

/// Bytes after which a file is put aside.
pub const FILE_LIMIT: u64 = 8 << 20;

/// Longest line; a longer one is cut into parts (CRI's `P` mark).
const LINE_LIMIT: usize = 16 << 10;

/// Bytes read at a time. A follower that is slow loses nothing of the file it reads and of the one before the current.
const READ_CHUNK: usize = 64 << 10;

/// A container's log.
#[derive(Debug)]
pub struct ContainerLog {
    path: PathBuf,
    limit: u64,
    file: Mutex<Option<Open>>,
    progress: watch::Sender<Progress>,
    /// Where the log was when the container was started last.
    begun: std::sync::Mutex<Progress>,
}

/// What followers wait on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// How often the file was put aside.
    rotations: u64,
    /// Bytes in the current file.
    length: u64,
    /// No more lines will come.
    closed: bool,
}

#[derive(Debug)]
struct Open {
    file: fs::File,
    length: u64,
}

/// Which of the two a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

// === impl ContainerLog ===

impl ContainerLog {
    /// A log at `path`; lines of an earlier run of the same container stay.
    pub fn new(path: PathBuf) -> Self {
        Self::with_limit(path, FILE_LIMIT)
    }

    fn with_limit(path: PathBuf, limit: u64) -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self { path, limit, file: Mutex::new(None), progress, begun: std::sync::Mutex::default() }
    }

    /// Copies a stream of the container line by line until it ends. An error of the log's disk stops nothing: the
    /// container's output is read on, so that it never blocks.
    pub async fn copy(&self, source: Source, mut from: impl AsyncRead + Unpin) {
        let mut pending = Vec::with_capacity(LINE_LIMIT);
        let mut chunk = vec![0; READ_CHUNK];
        loop {
            let count = match from.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let mut block = Vec::with_capacity(count + 128);
            let time = Timestamp::now();
            for part in chunk[..count].split_inclusive(|byte| *byte == b'\n') {
                pending.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    pending.pop();
                    render(&mut block, time, source, b'F', &pending);
                    pending.clear();
                }
                while pending.len() > LINE_LIMIT {
                    render(&mut block, time, source, b'P', &pending[..LINE_LIMIT]);
                    pending.drain(..LINE_LIMIT);
                }
            }
            self.append(&block).await;
        }
        if !pending.is_empty() {
            let mut block = Vec::new();
            render(&mut block, Timestamp::now(), source, b'F', &pending);
            self.append(&block).await;
        }
    }

    async fn append(&self, block: &[u8]) {
        if block.is_empty() {
            return;
        }
        let mut slot = self.file.lock().await;
        if let Err(error) = self.write(&mut slot, block) {
            tracing::warn!(path = %self.path.display(), %error, "failed to write a container's log");
        }
    }

    fn write(&self, slot: &mut Option<Open>, block: &[u8]) -> std::io::Result<()> {
        if slot.as_ref().is_some_and(|open| open.length >= self.limit) {
            *slot = None;
            let mut renamed = Ok(());
            // Within, so that nobody who looks at the progress opens the other file.
            self.progress.send_modify(|progress| {
                renamed = fs::rename(&self.path, aside(&self.path));
                if renamed.is_ok() {
                    progress.rotations += 1;
                    progress.length = 0;
                }
            });
            renamed?;
        }
        if slot.is_none() {
            let file = fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
            let length = file.metadata()?.len();
            *slot = Some(Open { file, length });
        }
        let open = slot.as_mut().expect("it was opened above");
        open.file.write_all(block)?;
        open.length += u64::try_from(block.len()).unwrap_or(u64::MAX);
        let length = open.length;
        self.progress.send_modify(|progress| progress.length = length);
        Ok(())
    }

    /// Says that no more lines will come; followers end.
    pub fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// Opens the log again for a new run of the container.
    pub fn reopen(&self) {
        self.progress.send_modify(|progress| progress.closed = false);
        // The file may be that of an earlier engine, whose progress is not known.
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        let begun = Progress { length, ..*self.progress.borrow() };
        *self.begun.lock().expect("no holder of this lock panics") = begun;
    }

    /// The end of what this run of the container wrote: at most `lines` lines and `bytes` bytes, without times.
    pub fn last_words(&self, lines: usize, bytes: usize) -> String {
        let begun = *self.begun.lock().expect("no holder of this lock panics");
        let turned = self.progress.borrow().rotations - begun.rotations;
        let from = |path: &Path, start: u64| {
            let all = fs::read(path).unwrap_or_default();
            let start = usize::try_from(start).unwrap_or(usize::MAX).min(all.len());
            all[start..].to_vec()
        };
        let mut stored = match turned {
            0 => Vec::new(),
            1 => from(&aside(&self.path), begun.length),
            _ => from(&aside(&self.path), 0),
        };
        stored.extend(from(&self.path, if turned == 0 { begun.length } else { 0 }));
        let options = LogOptions::default();
        let shown = stored.split_inclusive(|byte| *byte == b'\n').filter_map(|line| show(line, &options));
        let shown: Vec<Vec<u8>> = shown.collect();
        let last = shown[shown.len().saturating_sub(lines)..].concat();
        String::from_utf8_lossy(&last[last.len().saturating_sub(bytes)..]).into_owned()
    }

    /// Streams the log as `pods/log` asks for it.
    pub fn stream(&self, options: LogOptions) -> BoxStream<'static, std::io::Result<Bytes>> {
        let receiver = self.progress.subscribe();
        stream_of(self.path.clone(), options, Some(receiver))
    }
}

/// Streams the log of a container that is no longer known: what is on disk.
pub fn stream_file(path: PathBuf, options: LogOptions) -> BoxStream<'static, std::io::Result<Bytes>> {
    stream_of(path, options, None)
}

fn stream_of(
    path: PathBuf,
    options: LogOptions,
    receiver: Option<watch::Receiver<Progress>>,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let (rotations, (lines, offset)) = {
        // Held, so that the file is not put aside meanwhile.
        let progress = receiver.as_ref().map(watch::Receiver::borrow);
        (progress.as_ref().map_or(0, |progress| progress.rotations), snapshot(&path, &options))
    };
    let head = futures::stream::iter(lines.into_iter().map(Ok));
    let limit = options.limit_bytes;
    let all = match receiver {
        Some(receiver) if options.follow => {
            let (file, partial) = (None, Vec::new());
            let follower = Follower { path, file, offset, rotations, receiver, options, partial };
            head.chain(follower.into_stream()).boxed()
        }
        _ => head.boxed(),
    };
    match limit {
        Some(limit) => limited(all, limit),
        None => all,
    }
}

fn limited(
    all: BoxStream<'static, std::io::Result<Bytes>>,
    limit: u64,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    all.scan(limit, |left, item| {
        let item = match item {
            Ok(_) if *left == 0 => None,
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= u64::try_from(bytes.len()).unwrap_or(*left);
                Some(Ok(bytes))
            }
            Err(error) => Some(Err(error)),
        };
        futures::future::ready(item)
    })
    .boxed()
}

/// Reads on where the snapshot ended. It keeps its file open: one that is put aside is read to its end first.
struct Follower {
    path: PathBuf,
    /// The file that is read; opened, and gone to `offset`, with the first read.
    file: Option<fs::File>,
    offset: u64,
    /// How often the log had been put aside when this file was the current one.
    rotations: u64,
    receiver: watch::Receiver<Progress>,
    options: LogOptions,
    partial: Vec<u8>,
}

impl Follower {
    fn into_stream(self) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
        futures::stream::unfold(Some(self), |state| async {
            let mut this = state?;
            match this.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(this))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The next lines; `None` when the container ended and everything was read.
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            let progress = *self.receiver.borrow_and_update();
            self.open()?;
            let (read, lines) = self.read()?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if read {
                continue;
            }
            if progress.rotations != self.rotations {
                self.turn(progress.rotations);
                continue;
            }
            if progress.closed || self.receiver.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Opens the file that it is the turn of, unless it is open. There may be none yet.
    fn open(&mut self) -> std::io::Result<()> {
        use std::io::{Seek, SeekFrom};
        if self.file.is_some() {
            return Ok(());
        }
        // Held, so that the file is not put aside meanwhile.
        let progress = self.receiver.borrow();
        let behind = progress.rotations != self.rotations;
        let path = if behind { aside(&self.path) } else { self.path.clone() };
        let mut file = match fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        self.file = Some(file);
        Ok(())
    }

    /// Goes on with the file after the one that was read to its end; with the oldest there is, where that is gone too.
    fn turn(&mut self, rotations: u64) {
        self.rotations = (self.rotations + 1).max(rotations - 1);
        self.file = None;
        self.offset = 0;
        self.partial.clear();
    }

    /// Whether there was more in the file, and the whole lines of it.
    fn read(&mut self) -> std::io::Result<(bool, Bytes)> {
        use std::io::Read;
        let Some(file) = &mut self.file else { return Ok((false, Bytes::new())) };
        let before = self.partial.len();
        file.take(4 * READ_CHUNK as u64).read_to_end(&mut self.partial)?;
        let end = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut out = Vec::with_capacity(end);
        for line in self.partial[..end].split_inclusive(|byte| *byte == b'\n') {
            if let Some(text) = show(line, &self.options) {
                out.extend_from_slice(&text);
            }
        }
        let read = self.partial.len() > before;
        self.partial.drain(..end);
        Ok((read, out.into()))
    }
}

/// Lines on disk now, as the options ask for them, and how far the current file was read.
fn snapshot(path: &Path, options: &LogOptions) -> (Vec<Bytes>, u64) {
    let old = fs::read(aside(path)).unwrap_or_default();
    let new = fs::read(path).unwrap_or_default();
    let end = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let keep = options.tail_lines.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let mut lines = VecDeque::new();
    for line in
        old.split_inclusive(|byte| *byte == b'\n').chain(new[..end].split_inclusive(|byte| *byte == b'\n'))
    {
        if keep == 0 {
            break;
        }
        if let Some(text) = show(line, options) {
            if lines.len() == keep {
                lines.pop_front();
            }
            lines.push_back(Bytes::from(text));
        }
    }
    (lines.into(), end as u64)
}

/// A stored line as the reader wants it; `None` when it is too old or not a line of ours.
fn show(line: &[u8], options: &LogOptions) -> Option<Vec<u8>> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(words.next()?).ok()?;
    let _stream = words.next()?;
    let mark = words.next()?;
    let mut text = words.next()?.to_vec();
    if let Some(seconds) = options.since_seconds {
        let written: Timestamp = time.parse().ok()?;
        let age = Timestamp::now().as_second() - written.as_second();
        if age > seconds {
            return None;
        }
    }
    if mark == b"P" {
        text.pop();
    }
    if options.timestamps {
        let mut stamped = time.as_bytes().to_vec();
        stamped.push(b' ');
        stamped.append(&mut text);
        return Some(stamped);
    }
    Some(text)
}

fn render(out: &mut Vec<u8>, time: Timestamp, source: Source, mark: u8, text: &[u8]) {
    let stream = match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    };
    let _ = write!(out, "{time:.9} {stream} {} ", char::from(mark));
    out.extend_from_slice(text);
    out.push(b'\n');
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(stream: BoxStream<'static, std::io::Result<Bytes>>) -> String {
        let parts: Vec<_> = stream.map(|part| part.expect("it reads")).collect().await;
        String::from_utf8(parts.concat()).expect("it is text")
    }

    #[tokio::test]
    async fn lines_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = ContainerLog::new(folder.path().join("c.log"));
        log.copy(Source::Stdout, &b"one\ntwo\nthree"[..]).await;
        assert_eq!(text(log.stream(LogOptions::default())).await, "one\ntwo\nthree\n");
        let tail = LogOptions { tail_lines: Some(1), ..Default::default() };
        assert_eq!(text(log.stream(tail)).await, "three\n");
        let limit = LogOptions { limit_bytes: Some(5), ..Default::default() };
        assert_eq!(text(log.stream(limit)).await, "one\nt");
        assert_eq!(log.last_words(2, 100), "two\nthree\n");
        assert_eq!(log.last_words(2, 5), "hree\n");
        log.reopen();
        assert_eq!(log.last_words(2, 100), "", "nothing of an earlier run");
        log.copy(Source::Stderr, &b"dying\n"[..]).await;
        assert_eq!(log.last_words(80, 2048), "dying\n");
    }

    #[tokio::test]
    async fn a_long_line_is_one_line_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = ContainerLog::new(folder.path().join("c.log"));
        let long = "x".repeat(3 * LINE_LIMIT + 7) + "\n";
        log.copy(Source::Stderr, long.as_bytes()).await;
        assert_eq!(text(log.stream(LogOptions::default())).await, long);
    }

    #[tokio::test]
    async fn a_follower_sees_every_line_across_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = std::sync::Arc::new(ContainerLog::with_limit(folder.path().join("c.log"), 2000));
        log.copy(Source::Stdout, &b"first\n"[..]).await;
        let follow = LogOptions { follow: true, ..Default::default() };
        let mut stream = log.stream(follow);
        let first = stream.next().await.expect("a line").expect("it reads");
        assert_eq!(&first[..], b"first\n");
        let mut seen = Vec::new();
        for number in 0..200 {
            log.copy(Source::Stdout, format!("{number}\n").as_bytes()).await;
            seen.extend_from_slice(&stream.next().await.expect("a line").expect("it reads"));
        }
        log.close();
        assert!(stream.next().await.is_none());
        let wanted: String = (0..200).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(seen).expect("text"), wanted);
        assert!(fs::metadata(folder.path().join("c.log.1")).expect("it was put aside").len() < 3000);
    }

    #[tokio::test]
    async fn a_follower_that_is_slow_reads_what_was_put_aside_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = ContainerLog::with_limit(folder.path().join("c.log"), 10 * READ_CHUNK as u64);
        let mut stream = log.stream(LogOptions { follow: true, ..Default::default() });
        log.copy(Source::Stdout, &b"first\n"[..]).await;
        assert_eq!(&stream.next().await.expect("a line").expect("it reads")[..], b"first\n");
        let line = "x".repeat(1000) + "\n";
        for _ in 0..3 * READ_CHUNK / 100 {
            log.copy(Source::Stdout, line.as_bytes()).await;
            if fs::exists(folder.path().join("c.log.1")).expect("it can be looked for") {
                break;
            }
        }
        log.copy(Source::Stdout, &b"last\n"[..]).await;
        log.close();
        let seen = text(stream.boxed()).await;
        let whole: usize = ["c.log.1", "c.log"]
            .map(|name| fs::read_to_string(folder.path().join(name)).expect("it is there").lines().count())
            .iter()
            .sum();
        assert_eq!(seen.lines().count(), whole - 1, "all but the first, which was read before");
        assert!(seen.ends_with("last\n"));
    }
}
