//! The two output streams of a container or command, which Docker sends as one.

use bollard::{container::LogOutput, errors::Error};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

/// Bytes that may wait for a reader.
const BUFFER: usize = 64 << 10;

/// Standard output and standard error, and the future that fills them: both must be read while it runs. What a terminal
/// shows arrives on standard output.
pub(super) fn split<S>(output: S) -> (DuplexStream, DuplexStream, impl Future<Output = ()> + Send)
where
    S: Stream<Item = Result<LogOutput, Error>> + Send + Unpin,
{
    let (mut out_writer, out) = duplex(BUFFER);
    let (mut err_writer, err) = duplex(BUFFER);
    let pump = async move {
        let mut output = output;
        while let Some(Ok(part)) = output.next().await {
            // A reader that went away misses nothing it wants.
            let _ = match part {
                LogOutput::StdErr { message } => err_writer.write_all(&message).await,
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    out_writer.write_all(&message).await
                }
                LogOutput::StdIn { .. } => Ok(()),
            };
        }
    };
    (out, err, pump)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn each_stream_gets_its_own() {
        let parts = [
            LogOutput::StdOut { message: "a".into() },
            LogOutput::StdErr { message: "b".into() },
            LogOutput::Console { message: "c".into() },
        ];
        let (mut out, mut err, pump) = split(futures::stream::iter(parts.map(Ok)));
        let (mut out_text, mut err_text) = (String::new(), String::new());
        let (out, err, ()) =
            tokio::join!(out.read_to_string(&mut out_text), err.read_to_string(&mut err_text), pump);
        assert_eq!((out.unwrap(), err.unwrap()), (2, 1));
        assert_eq!((out_text.as_str(), err_text.as_str()), ("ac", "b"));
    }
}
