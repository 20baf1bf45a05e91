//! The platform's lines in the form that the deployment asks for: text (6.1), or JSON records with a level (6.4, LG-09).

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{InitPhase, Report, Status, billed};
use crate::extension::ExtensionStatus;
use crate::function_error::FunctionError;
use crate::id::{FunctionVersion, RequestId};
use crate::log_tail::LogFormat;

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

/// What starts, as the first record of an init says it.
#[derive(Clone, Copy, Debug)]
pub struct InitStart<'a> {
    /// The runtime.
    pub runtime_version: &'a str,
    /// Its ARN.
    pub runtime_version_arn: &'a str,
    /// The function.
    pub function_name: &'a str,
    /// Its version.
    pub function_version: &'a str,
    /// Its memory in MB.
    pub memory_size: u32,
}

#[derive(Serialize)]
struct Record<T> {
    time: String,
    #[serde(rename = "type")]
    kind: &'static str,
    record: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitStartRecord<'a> {
    initialization_type: &'static str,
    phase: &'static str,
    runtime_version: &'a str,
    runtime_version_arn: &'a str,
    function_name: &'a str,
    function_version: &'a str,
    instance_max_memory: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitReportRecord<'a> {
    initialization_type: &'static str,
    phase: &'static str,
    #[serde(flatten)]
    outcome: Outcome<'a>,
    metrics: DurationMs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtensionRecord<'a> {
    name: &'a str,
    state: &'static str,
    events: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartRecord<'a> {
    request_id: String,
    function_arn: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeDoneRecord<'a> {
    request_id: String,
    #[serde(flatten)]
    outcome: Outcome<'a>,
    metrics: DurationMs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportRecord<'a> {
    request_id: String,
    metrics: ReportMetrics,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DurationMs {
    duration_ms: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportMetrics {
    duration_ms: f64,
    billed_duration_ms: u64,
    #[serde(rename = "memorySizeMB")]
    memory_size: u32,
    #[serde(rename = "maxMemoryUsedMB")]
    max_memory: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_duration_ms: Option<f64>,
}

const ON_DEMAND: &str = "on-demand";

// === impl SystemLog ===

impl SystemLog {
    /// An init begins.
    pub fn init_start(&self, start: &InitStart<'_>) -> String {
        if self.format == LogFormat::Text {
            return super::init_start(start.runtime_version, start.runtime_version_arn);
        }
        let InitStart { runtime_version, runtime_version_arn, function_name, function_version, memory_size } =
            *start;
        let record = InitStartRecord {
            initialization_type: ON_DEMAND,
            phase: "init",
            runtime_version,
            runtime_version_arn,
            function_name,
            function_version,
            instance_max_memory: u64::from(memory_size) << 20,
        };
        self.json(SystemLevel::Info, "platform.initStart", &record)
    }

    /// An init failed.
    pub fn init_report(&self, duration: Duration, phase: InitPhase, status: &Status) -> String {
        if self.format == LogFormat::Text {
            return super::init_report(duration, phase, status);
        }
        let record = InitReportRecord {
            initialization_type: ON_DEMAND,
            phase: phase.word(),
            outcome: Outcome::of(status),
            metrics: DurationMs { duration_ms: millis(duration) },
        };
        self.json(status.level(SystemLevel::Debug), "platform.initReport", &record)
    }

    /// An init is over, well or not: where an extension stands.
    pub fn extension(&self, status: &ExtensionStatus) -> String {
        if self.format == LogFormat::Text {
            return super::extension(status);
        }
        let ExtensionStatus { name, state, events, error_type } = status;
        let record = ExtensionRecord {
            name,
            state: state.word(),
            events: events.words(),
            error_type: error_type.as_deref(),
        };
        let level = if error_type.is_some() { SystemLevel::Warn } else { SystemLevel::Info };
        self.json(level, "platform.extension", &record)
    }

    /// An invoke begins.
    pub fn start(&self, id: RequestId, arn: &str, version: &FunctionVersion) -> String {
        if self.format == LogFormat::Text {
            return super::start(id, version);
        }
        let record = StartRecord { request_id: id.to_string(), function_arn: arn, version: version.as_str() };
        self.json(SystemLevel::Info, "platform.start", &record)
    }

    /// An invoke is over: why it failed, END and REPORT; or what became of the runtime, and the report.
    pub fn last_lines(&self, report: &Report, error: Option<&FunctionError>, timeout: Duration) -> String {
        match self.format {
            LogFormat::Text => text_end(report, error, timeout),
            LogFormat::Json => self.json_end(report),
        }
    }

    fn json_end(&self, report: &Report) -> String {
        let Report { id, duration, init, memory_size, max_memory, status } = report;
        let (request_id, duration_ms) = (id.to_string(), millis(*duration));
        let done = RuntimeDoneRecord {
            request_id: request_id.clone(),
            outcome: Outcome::of(status),
            metrics: DurationMs { duration_ms },
        };
        let mut lines = self.json(status.level(SystemLevel::Debug), "platform.runtimeDone", &done);
        let metrics = ReportMetrics {
            duration_ms,
            billed_duration_ms: u64::try_from(billed(*duration, *init)).unwrap_or(u64::MAX),
            memory_size: *memory_size,
            max_memory: *max_memory,
            init_duration_ms: init.map(millis),
        };
        let record = ReportRecord { request_id, metrics, outcome: Outcome::of(status) };
        lines.push_str(&self.json(status.level(SystemLevel::Info), "platform.report", &record));
        lines
    }

    /// A record, unless its level is below what is wanted.
    fn json<T: Serialize>(&self, level: SystemLevel, kind: &'static str, record: &T) -> String {
        if level < self.level {
            return String::new();
        }
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        let mut line =
            serde_json::to_string(&Record { time, kind, record }).expect("texts and numbers serialise");
        line.push('\n');
        line
    }
}

fn text_end(report: &Report, error: Option<&FunctionError>, timeout: Duration) -> String {
    let mut lines = match (&report.status, error) {
        (Status::Timeout, _) => super::timeout(Timestamp::now(), report.id, timeout),
        (_, Some(error)) => super::failure(error),
        (_, None) => String::new(),
    };
    lines.push_str(&super::end(report.id));
    lines.push_str(&super::report(report));
    lines
}

/// EX-17: at most three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

// === impl Outcome ===

impl<'a> Outcome<'a> {
    fn of(status: &'a Status) -> Self {
        match status {
            Status::Success => Self { status: "success", error_type: None },
            Status::Timeout => Self { status: "timeout", error_type: None },
            Status::Error(error_type) => Self { status: "error", error_type: Some(error_type) },
        }
    }
}

// === impl Status ===

impl Status {
    /// Failures are warnings.
    fn level(&self, success: SystemLevel) -> SystemLevel {
        if *self == Self::Success { success } else { SystemLevel::Warn }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn log(level: SystemLevel) -> SystemLog {
        SystemLog { format: LogFormat::Json, level }
    }

    fn report(status: Status) -> Report {
        Report {
            id: RequestId::parse("5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10").unwrap(),
            duration: Duration::from_micros(1_005_219),
            init: Some(Duration::from_micros(576_960)),
            memory_size: 512,
            max_memory: 103,
            status,
        }
    }

    fn records(lines: &str) -> Vec<(String, Value)> {
        let parse = |line: &str| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            assert!(value["time"].as_str().unwrap().ends_with('Z'), "{line}");
            (value["type"].as_str().unwrap().to_owned(), value["record"].take())
        };
        lines.lines().map(parse).collect()
    }

    #[test]
    fn records_of_a_success_and_of_a_failure() {
        let id = "5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10";
        let lines = log(SystemLevel::Debug).last_lines(&report(Status::Success), None, Duration::ZERO);
        assert_eq!(
            records(&lines),
            [
                (
                    "platform.runtimeDone".to_owned(),
                    json!({"requestId": id, "status": "success", "metrics": {"durationMs": 1005.219}}),
                ),
                (
                    "platform.report".to_owned(),
                    json!({"requestId": id, "metrics": {"durationMs": 1005.219, "billedDurationMs": 1583, "memorySizeMB": 512,
                           "maxMemoryUsedMB": 103, "initDurationMs": 576.96}, "status": "success"}),
                ),
            ]
        );
        let crash = report(Status::Error("Runtime.ExitError".to_owned()));
        let lines = log(SystemLevel::Warn).last_lines(&crash, None, Duration::ZERO);
        assert_eq!(records(&lines)[1].1["errorType"], "Runtime.ExitError");
    }

    #[test]
    fn levels() {
        let lines = |level: SystemLevel| {
            let log = log(level);
            let start = log.start(report(Status::Success).id, "arn", &FunctionVersion::latest());
            let good = log.last_lines(&report(Status::Success), None, Duration::ZERO);
            let bad = log.last_lines(&report(Status::Timeout), None, Duration::ZERO);
            [start, good, bad].map(|lines| lines.lines().count())
        };
        assert_eq!(lines(SystemLevel::Debug), [1, 2, 2]);
        assert_eq!(lines(SystemLevel::Info), [1, 1, 2]);
        assert_eq!(lines(SystemLevel::Warn), [0, 0, 2]);
        let failed =
            log(SystemLevel::Warn).init_report(Duration::from_millis(5), InitPhase::Init, &Status::Timeout);
        assert_eq!(records(&failed)[0].1["status"], "timeout");
    }
}
