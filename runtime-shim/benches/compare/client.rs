//! The load: so many clients, each with one connection and one request at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

/// What was measured of a stream.
pub(crate) struct Stream {
    /// From the request to the first byte of the answer's body, in milliseconds.
    pub(crate) first_byte: f64,
    /// Megabytes of 10^6 a second, from the request to the last byte.
    pub(crate) rate: f64,
}

/// What was measured.
pub(crate) struct Sample {
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    pub(crate) rps: f64,
    pub(crate) calls: u32,
    pub(crate) errors: usize,
}

const BODY: &str = r#"{"name":"echo","values":[1,2,3],"text":"a few words of payload"}"#;

/// No answer takes this long on a loopback.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether there is any point in measuring: some answer each worker's first call only.
pub(crate) fn keeps_answering(port: u16, path: &str) -> bool {
    if TcpStream::connect(("127.0.0.1", port)).is_err() {
        return false;
    }
    let request = request(path, BODY);
    let mut connection = connect(port);
    (0..CALLS).all(|_| exchange(&mut connection, &request) == Some(200))
}

/// More than there are workers.
const CALLS: usize = 12;

/// Posts to a path from `clients` threads for as long as `time`.
pub(crate) fn load(port: u16, path: &str, clients: usize, time: Duration) -> Sample {
    let until = Instant::now() + time;
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let path = path.to_owned();
            std::thread::spawn(move || one(port, &path, until))
        })
        .collect();
    let mut times = Vec::new();
    let mut errors = 0;
    for thread in threads {
        let (more, failed) = thread.join().unwrap();
        times.extend(more);
        errors += failed;
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or(f64::NAN) * 1000.0;
    let count = u32::try_from(times.len()).unwrap();
    Sample { p50: at(50), p99: at(99), rps: f64::from(count) / time.as_secs_f64(), calls: count, errors }
}

/// How long it takes from now until somebody answers 2xx, in milliseconds.
pub(crate) fn first_answer(port: u16, path: &str) -> f64 {
    let began = Instant::now();
    let request = request(path, BODY);
    while began.elapsed() < COLD_LIMIT {
        let connected = TcpStream::connect(("127.0.0.1", port)).ok();
        let answer = connected.and_then(|stream| {
            stream.set_read_timeout(Some(COLD_LIMIT)).ok()?;
            exchange(&mut BufReader::new(stream), &request)
        });
        if answer.is_some_and(|status| (200..300).contains(&status)) {
            return began.elapsed().as_secs_f64() * 1000.0;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    f64::NAN
}

/// Reads one stream of `size` bytes; `None` where none comes, or not all of it.
pub(crate) fn stream(port: u16, path: &str, size: usize) -> Option<Stream> {
    let mut stream = connect(port).into_inner();
    let body = format!("{{\"size\":{size}}}");
    let began = Instant::now();
    stream.write_all(request(path, &body).as_bytes()).ok()?;
    let (mut buffer, mut head, mut seen, mut first_byte) = (vec![0; 1 << 18], Vec::new(), 0, f64::NAN);
    while seen < size {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        if first_byte.is_nan() {
            head.extend_from_slice(&buffer[..count]);
            let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            if head.len() > at + 4 {
                first_byte = began.elapsed().as_secs_f64() * 1000.0;
                seen = filling(&head[at + 4..]);
            }
            continue;
        }
        seen += filling(&buffer[..count]);
    }
    let rate = f64::from(u32::try_from(size).unwrap()) / 1e6 / began.elapsed().as_secs_f64();
    Some(Stream { first_byte, rate })
}

/// Bytes that are not those of chunk heads.
fn filling(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'x').count()
}

fn request(path: &str, body: &str) -> String {
    let head = "Host: bench\r\nContent-Type: application/json";
    format!("POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// No start takes this long.
const COLD_LIMIT: Duration = Duration::from_secs(30);

fn one(port: u16, path: &str, until: Instant) -> (Vec<f64>, usize) {
    let request = request(path, BODY);
    let (mut times, mut errors) = (Vec::new(), 0);
    let mut connection = connect(port);
    while Instant::now() < until {
        let began = Instant::now();
        match exchange(&mut connection, &request) {
            Some(200) => times.push(began.elapsed().as_secs_f64()),
            Some(_) => errors += 1,
            None => {
                errors += 1;
                connection = connect(port);
            }
        }
    }
    (times, errors)
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// One request; the status, or `None` when the connection is gone.
fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> Option<u16> {
    connection.get_mut().write_all(request.as_bytes()).ok()?;
    let mut line = String::new();
    connection.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut chunked) = (0, false);
    loop {
        line.clear();
        connection.read_line(&mut line).ok()?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= header == "transfer-encoding: chunked";
    }
    if chunked {
        return chunks(connection).map(|()| status);
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some(status)
}

fn chunks(connection: &mut BufReader<TcpStream>) -> Option<()> {
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        connection.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(());
        }
    }
}
