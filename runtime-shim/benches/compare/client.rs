//! The load: so many clients, each with one connection and one request at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

/// What was measured.
pub(crate) struct Sample {
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    pub(crate) rps: f64,
    pub(crate) errors: usize,
}

const BODY: &str = r#"{"name":"echo","values":[1,2,3],"text":"a few words of payload"}"#;

/// No answer takes this long on a loopback.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether there is any point in measuring.
pub(crate) fn answers(port: u16, path: &str) -> bool {
    let (times, _) = one(port, path, Instant::now() + Duration::from_millis(1));
    !times.is_empty()
}

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
    Sample { p50: at(50), p99: at(99), rps: f64::from(count) / time.as_secs_f64(), errors }
}

fn one(port: u16, path: &str, until: Instant) -> (Vec<f64>, usize) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
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
