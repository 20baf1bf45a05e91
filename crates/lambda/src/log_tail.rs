//! The end of an invoke's log, for callers who ask for it (`X-Amz-Log-Type: Tail`, LG-10).

use crate::limits::LOG_TAIL_BYTES;

/// The last bytes of what was written since the last invoke ended.
#[derive(Debug, Default)]
pub struct LogTail {
    bytes: Vec<u8>,
    /// Whether something was pushed out.
    cut: bool,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines of text. A tail is cut anywhere.
    #[default]
    Text,
    /// One JSON record a line. Records are dropped whole, never cut.
    Json,
}

// === impl LogTail ===

impl LogTail {
    /// Adds whole lines; at most [`LOG_TAIL_BYTES`] are kept.
    pub fn push(&mut self, lines: &[u8]) {
        let kept = &lines[lines.len().saturating_sub(LOG_TAIL_BYTES)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(LOG_TAIL_BYTES);
        self.cut |= over > 0 || kept.len() < lines.len();
        if over > 0 {
            self.bytes.drain(..over);
        }
        self.bytes.extend_from_slice(kept);
    }

    /// Forgets everything: another invoke's stretch begins.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.cut = false;
    }

    /// The tail as text. Each byte that is no UTF-8, as a letter that was cut in two is not, becomes U+FFFD, so that the
    /// text may be a little longer than the limit.
    pub fn take(&mut self, format: LogFormat) -> String {
        let whole = match self.bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) if self.cut && format == LogFormat::Json => &self.bytes[end + 1..],
            None if self.cut && format == LogFormat::Json => &[],
            _ => &self.bytes,
        };
        let text = repaired(whole);
        self.clear();
        text
    }
}

fn repaired(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    loop {
        match std::str::from_utf8(bytes) {
            Ok(rest) => {
                text.push_str(rest);
                return text;
            }
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                let wrong = error.error_len().unwrap_or(rest.len());
                text.extend(std::iter::repeat_n('\u{fffd}', wrong));
                bytes = &rest[wrong..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lm_16_the_last_4096_bytes_with_cut_letters_replaced() {
        // (bytes of the cut letter that are left, length of the repaired text)
        for (left, length) in [(0, 4096), (1, 4098), (2, 4100), (3, 4102)] {
            let mut tail = LogTail::default();
            tail.push("x".as_bytes());
            tail.push("😀".as_bytes());
            tail.push(&vec![b'y'; LOG_TAIL_BYTES - left]);
            let text = tail.take(LogFormat::Text);
            assert_eq!(text.len(), length);
            assert_eq!(text.matches('\u{fffd}').count(), left);
            assert_eq!(tail.take(LogFormat::Text), "");
        }
    }

    #[test]
    fn short_logs_are_whole() {
        let mut tail = LogTail::default();
        tail.push(b"a\n");
        tail.push(b"b\n");
        assert_eq!(tail.take(LogFormat::Text), "a\nb\n");
    }

    #[test]
    fn json_records_are_dropped_whole() {
        let mut tail = LogTail::default();
        let record = format!("{{\"a\":\"{}\"}}\n", "x".repeat(2000));
        for _ in 0..3 {
            tail.push(record.as_bytes());
        }
        assert_eq!(tail.take(LogFormat::Json), record.repeat(2));
        tail.push(format!("\"{}\"\n", "x".repeat(5000)).as_bytes());
        assert_eq!(tail.take(LogFormat::Json), "");
    }

    proptest! {
        #[test]
        fn lg_10_it_is_the_end_of_all_lines(lines in proptest::collection::vec("[a-z]{0,900}\n", 0..12)) {
            let mut tail = LogTail::default();
            lines.iter().for_each(|line| tail.push(line.as_bytes()));
            let all = lines.concat();
            let end = &all[all.len().saturating_sub(LOG_TAIL_BYTES)..];
            prop_assert_eq!(tail.take(LogFormat::Text), end);
        }

        #[test]
        fn any_bytes_become_text(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let mut tail = LogTail::default();
            tail.push(&bytes);
            prop_assert!(tail.take(LogFormat::Text).len() <= 3 * LOG_TAIL_BYTES);
        }
    }
}
