//! Cuts a stream of bytes into whole lines (LG-04): at newlines only, with a bound on a line's length.

use bytes::{BufMut as _, Bytes, BytesMut};
use tm_lambda::limits::MAX_LOG_LINE_BYTES;

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: BytesMut,
}

// === impl Lines ===

impl Lines {
    /// Takes some bytes and gives the whole lines they finish. A line beyond the bound is cut into several.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Bytes {
        let (finished, rest) = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => bytes.split_at(at + 1),
            None => (&bytes[..0], bytes),
        };
        let mut whole = BytesMut::new();
        if !finished.is_empty() {
            whole = self.rest.split();
            whole.extend_from_slice(finished);
        }
        self.rest.extend_from_slice(rest);
        while self.rest.len() >= MAX_LOG_LINE_BYTES {
            whole.extend_from_slice(&self.rest.split_to(MAX_LOG_LINE_BYTES));
            whole.put_u8(b'\n');
        }
        whole.freeze()
    }

    /// The unfinished line, finished.
    pub(crate) fn finish(&mut self) -> Bytes {
        if !self.rest.is_empty() {
            self.rest.put_u8(b'\n');
        }
        self.rest.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_join_and_carriage_returns_do_not_split() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a\rb"), "");
        assert_eq!(lines.push(b"c\nd\ne"), "a\rbc\nd\n");
        assert_eq!(lines.finish(), "e\n");
        assert_eq!(lines.finish(), "");
    }

    #[test]
    fn a_line_without_end_stays_bounded() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; 64 * 1024];
        let mut given = 0;
        for _ in 0..100 {
            given += lines.push(&chunk).len();
            assert!(lines.rest.len() < MAX_LOG_LINE_BYTES);
        }
        given += lines.finish().len();
        assert_eq!(given, 100 * chunk.len() + 25, "every byte, and one newline per piece");
    }
}
