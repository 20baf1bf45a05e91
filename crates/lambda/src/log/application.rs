//! The function's own lines where the log is in JSON: which levels of them stand in it (section 6.4, LG-09).

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use crate::log_tail::LogFormat;

/// How loud a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApplicationLevel {
    /// `TRACE`.
    Trace,
    /// `DEBUG`.
    Debug,
    /// `INFO`; also what a line has that says nothing of its level.
    #[default]
    Info,
    /// `WARN`.
    Warn,
    /// `ERROR`.
    Error,
    /// `FATAL`.
    Fatal,
}

/// Which of the function's lines are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplicationLog {
    /// In text all are.
    pub format: LogFormat,
    /// The lowest level, in JSON.
    pub level: ApplicationLevel,
}

/// What matters of a line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    level: Option<Cow<'a, str>>,
}

// === impl ApplicationLevel ===

impl ApplicationLevel {
    /// AWS's word for it, and those of common loggers, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" | "WARNING" => Self::Warn,
            "ERROR" => Self::Error,
            "FATAL" | "CRITICAL" => Self::Fatal,
            _ => return None,
        })
    }

    fn of(line: &[u8]) -> Self {
        let said = line.starts_with(b"{").then(|| serde_json::from_slice::<Line<'_>>(line).ok()).flatten();
        said.and_then(|line| Self::parse(&line.level?)).unwrap_or_default()
    }
}

// === impl ApplicationLog ===

impl ApplicationLog {
    /// Those of some whole lines that the log has.
    pub fn wanted(&self, lines: &Bytes) -> Bytes {
        let wanted = |line: &&[u8]| ApplicationLevel::of(line) >= self.level;
        let all = || lines.split_inclusive(|byte| *byte == b'\n');
        if self.format == LogFormat::Text || all().all(|line| wanted(&line)) {
            return lines.clone();
        }
        let mut kept = BytesMut::with_capacity(lines.len());
        all().filter(wanted).for_each(|line| kept.extend_from_slice(line));
        kept.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "plain\n{\"level\":\"debug\",\"n\":1}\n{\"level\":7}\n{\"level\":\"loud\"}\n{\"n\":2}\n{\"level\":\"ERROR\"}\n{broken\n";

    fn wanted(format: LogFormat, level: &str) -> String {
        let level = ApplicationLevel::parse(level).unwrap();
        let kept = ApplicationLog { format, level }.wanted(&Bytes::from_static(LINES.as_bytes()));
        String::from_utf8(kept.to_vec()).unwrap()
    }

    #[test]
    fn lg_09_lines_without_a_level_of_their_own_are_information() {
        assert_eq!(wanted(LogFormat::Json, "trace"), LINES);
        assert_eq!(wanted(LogFormat::Json, "INFO"), LINES.replace("{\"level\":\"debug\",\"n\":1}\n", ""));
        assert_eq!(wanted(LogFormat::Json, "WARN"), "{\"level\":\"ERROR\"}\n");
        assert_eq!(wanted(LogFormat::Json, "critical"), "");
        assert_eq!(wanted(LogFormat::Text, "FATAL"), LINES, "text knows no levels");
        assert_eq!(ApplicationLevel::parse("verbose"), None);
    }
}
