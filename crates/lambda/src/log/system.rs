//! The function's log in JSON: which of the platform's records stand in it (section 6.4, LG-09).

use crate::log_tail::LogFormat;
use crate::telemetry::{Record, Schema, Stamped};

/// Which records are written; JSON only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SystemLevel {
    /// All of them.
    Debug,
    /// Starts, reports and failures.
    #[default]
    Info,
    /// Failures.
    Warn,
}

/// How the platform's lines are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLog {
    /// Text or JSON.
    pub format: LogFormat,
    /// Which records, in JSON.
    pub level: SystemLevel,
}

// === impl SystemLog ===

impl SystemLog {
    /// Whether the log has records of this kind.
    pub fn wants(&self, record: &Record) -> bool {
        record.level() >= self.level
    }

    /// The record as a line of JSON, whatever its level; nothing for those that are for subscribers only.
    pub fn json(&self, stamped: &Stamped) -> String {
        let mut line = stamped.json(Schema::LATEST).unwrap_or_default();
        if !line.is_empty() {
            line.push('\n');
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::id::RequestId;
    use crate::log::{InitPhase, Report, Status};
    use crate::telemetry::InitKind;

    fn records() -> Vec<Record> {
        let id = RequestId::mint();
        let of = |status: Status| {
            let report = Report {
                id,
                duration: Duration::from_millis(5),
                init: None,
                memory_size: 128,
                max_memory: 23,
                status: status.clone(),
                segment: None,
            };
            let done = Record::RuntimeDone {
                id,
                status,
                spans: Vec::new(),
                duration: report.duration,
                produced_bytes: None,
            };
            [done, Record::Report { report, extension_overhead: None }]
        };
        let start = Record::Start { id, arn: "arn".into(), version: "1".into(), trace: None, tenant: None };
        let init = Record::InitReport {
            kind: InitKind::OnDemand,
            phase: InitPhase::Init,
            status: Status::Timeout,
            duration: Duration::from_millis(5),
        };
        let ends = [of(Status::Success), of(Status::Timeout)].concat();
        [vec![start], ends, vec![init, Record::End(id), Record::Fault("x".into())]].concat()
    }

    fn kinds(level: SystemLevel) -> Vec<String> {
        let log = SystemLog { format: LogFormat::Json, level };
        let wanted = records().into_iter().filter(|record| log.wants(record));
        let lines: String = wanted.map(|record| log.json(&Stamped::now(record))).collect();
        let kind = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            assert!(value["time"].as_str().unwrap().ends_with('Z'), "{line}");
            value["type"].as_str().unwrap().trim_start_matches("platform.").to_owned()
        };
        lines.lines().map(kind).collect()
    }

    #[test]
    fn lg_09_levels() {
        let bad = ["runtimeDone", "report", "initReport"];
        assert_eq!(kinds(SystemLevel::Debug), [&["start", "runtimeDone", "report"], &bad[..]].concat());
        assert_eq!(kinds(SystemLevel::Info), [&["start", "report"], &bad[..]].concat());
        assert_eq!(kinds(SystemLevel::Warn), bad);
    }
}
