//! The records' JSON: one struct for each body, in the contract's spelling and order (section 5.6).

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Span;
use crate::log::{InitPhase, Report, Status, billed};
use crate::telemetry::Category;

/// What all records have around them.
#[derive(Serialize)]
struct Envelope<'a, T> {
    time: String,
    #[serde(rename = "type")]
    kind: &'a str,
    record: T,
}

/// `platform.initStart`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitStartBody<'a> {
    pub(super) initialization_type: &'static str,
    pub(super) phase: &'static str,
    pub(super) runtime_version: &'a str,
    pub(super) runtime_version_arn: &'a str,
    pub(super) function_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_arn: Option<&'a str>,
    pub(super) function_version: &'a str,
    pub(super) instance_id: &'a str,
    pub(super) instance_max_memory: u64,
}

/// `platform.initRuntimeDone` and `platform.initReport`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitBody<'a> {
    pub(super) initialization_type: &'static str,
    pub(super) phase: &'static str,
    #[serde(flatten)]
    pub(super) outcome: Option<Outcome<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metrics: Option<DurationMs>,
}

/// `platform.extension`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExtensionBody<'a> {
    pub(super) name: &'a str,
    pub(super) state: &'static str,
    pub(super) events: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_type: Option<&'a str>,
}

/// `platform.telemetrySubscription` and `platform.logsSubscription`.
#[derive(Serialize)]
pub(super) struct SubscribedBody<'a> {
    pub(super) name: &'a str,
    pub(super) state: &'static str,
    pub(super) types: &'a [Category],
}

/// `platform.start`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartBody<'a> {
    pub(super) request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_arn: Option<&'a str>,
    pub(super) version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tracing: Option<Tracing<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant_id: Option<&'a str>,
}

/// The trace of an invoke.
#[derive(Serialize)]
pub(super) struct Tracing<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) value: &'a str,
}

/// `platform.runtimeDone`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuntimeDoneBody<'a> {
    pub(super) request_id: String,
    #[serde(flatten)]
    pub(super) outcome: Outcome<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) spans: Vec<SpanBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metrics: Option<DoneMetrics>,
}

/// `platform.end`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndBody {
    pub(super) request_id: String,
}

/// `platform.report`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportBody<'a> {
    pub(super) request_id: String,
    pub(super) metrics: ReportMetrics,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) spans: Vec<SpanBody>,
    #[serde(flatten)]
    pub(super) outcome: Option<Outcome<'a>>,
}

/// `platform.logsDropped`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DroppedBody {
    pub(super) dropped_bytes: u64,
    pub(super) dropped_records: u64,
    pub(super) reason: &'static str,
}

/// How something ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome<'a> {
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_type: Option<&'a str>,
}

/// A stretch of time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpanBody {
    pub(super) name: &'static str,
    pub(super) start: String,
    pub(super) duration_ms: f64,
}

/// The metrics of an init.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DurationMs {
    pub(super) duration_ms: f64,
}

/// The metrics of `platform.runtimeDone`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DoneMetrics {
    pub(super) duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) produced_bytes: Option<u64>,
}

/// The metrics of `platform.report`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportMetrics {
    pub(super) duration_ms: f64,
    pub(super) billed_duration_ms: u64,
    #[serde(rename = "memorySizeMB")]
    pub(super) memory_size: u32,
    #[serde(rename = "maxMemoryUsedMB")]
    pub(super) max_memory: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) init_duration_ms: Option<f64>,
}

/// A record as JSON.
pub(super) fn envelope<T: Serialize>(time: Timestamp, kind: &str, record: T) -> String {
    let envelope = Envelope { time: clock(time), kind, record };
    serde_json::to_string(&envelope).expect("texts and numbers serialise")
}

/// UTC, with milliseconds.
fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// EX-17: at most three decimals.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

// === impl InitBody ===

impl<'a> InitBody<'a> {
    pub(super) fn of(
        initialization_type: &'static str,
        phase: InitPhase,
        status: Option<&'a Status>,
        duration: Option<Duration>,
    ) -> Self {
        let metrics = duration.map(|duration| DurationMs { duration_ms: millis(duration) });
        let phase = phase.word();
        Self { initialization_type, phase, outcome: status.map(Outcome::of), metrics }
    }
}

// === impl SpanBody ===

impl SpanBody {
    pub(super) fn of(span: &Span) -> Self {
        Self { name: span.name, start: clock(span.start), duration_ms: millis(span.duration) }
    }
}

// === impl ReportMetrics ===

impl ReportMetrics {
    pub(super) fn of(report: &Report) -> Self {
        let Report { duration, init, memory_size, max_memory, .. } = report;
        Self {
            duration_ms: millis(*duration),
            billed_duration_ms: u64::try_from(billed(*duration, *init)).unwrap_or(u64::MAX),
            memory_size: *memory_size,
            max_memory: *max_memory,
            init_duration_ms: init.map(millis),
        }
    }
}

// === impl Outcome ===

impl<'a> Outcome<'a> {
    pub(super) fn of(status: &'a Status) -> Self {
        match status {
            Status::Success => Self { status: "success", error_type: None },
            Status::Timeout => Self { status: "timeout", error_type: None },
            Status::Error(error_type) => Self { status: "error", error_type: Some(error_type) },
            Status::Failure(error_type) => Self { status: "failure", error_type: Some(error_type) },
        }
    }
}
