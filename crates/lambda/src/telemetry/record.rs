//! The platform's records in all versions of their shapes (section 5.6), and lines of output as records.
//!
//! One set of values for everybody: subscribers get them as their schema has them (EX-15), the log in JSON as the newest
//! one has them. Statuses, types and numbers are those of the contract only (EX-16 to EX-18): clients read closed sets.

mod body;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{Api, Category, Schema};
use crate::extension::ExtensionStatus;
use crate::id::RequestId;
use crate::log::{InitPhase, Report, Status, SystemLevel};
use body::{
    DoneMetrics, DroppedBody, EndBody, ExtensionBody, InitBody, InitStartBody, Outcome, ReportBody,
    ReportMetrics, RuntimeDoneBody, SpanBody, StartBody, SubscribedBody, Tracing, envelope, millis,
};

/// Something that the platform says.
#[derive(Clone, Debug)]
pub enum Record {
    /// An init begins.
    InitStart {
        /// What for.
        kind: InitKind,
        /// Ahead of any invoke, or inside one.
        phase: InitPhase,
        /// The runtime.
        runtime_version: String,
        /// Its ARN.
        runtime_version_arn: String,
        /// The function.
        function_name: String,
        /// Its ARN.
        function_arn: String,
        /// Its version.
        function_version: String,
        /// The environment.
        instance_id: String,
        /// Its memory in MB.
        memory_size: u32,
    },
    /// The runtime has asked for its first event, or never will.
    InitRuntimeDone {
        /// What for.
        kind: InitKind,
        /// When.
        phase: InitPhase,
        /// How it went.
        status: Status,
    },
    /// An init is over.
    InitReport {
        /// What for.
        kind: InitKind,
        /// When.
        phase: InitPhase,
        /// How it went.
        status: Status,
        /// How long it took.
        duration: Duration,
    },
    /// Where an extension stands at the end of an init.
    Extension(ExtensionStatus),
    /// Somebody subscribes.
    Subscribed {
        /// To what.
        api: Api,
        /// Its name.
        name: String,
        /// Whether it had done so before.
        again: bool,
        /// What it wants.
        types: Vec<Category>,
    },
    /// An invoke begins.
    Start {
        /// The invoke.
        id: RequestId,
        /// The function as invoked.
        arn: String,
        /// Its version.
        version: String,
        /// X-Ray's header.
        trace: Option<String>,
        /// The tenant, where the caller named one.
        tenant: Option<String>,
    },
    /// The runtime has asked for the next event, or never will.
    RuntimeDone {
        /// The invoke.
        id: RequestId,
        /// How it went.
        status: Status,
        /// Where its time went.
        spans: Vec<Span>,
        /// All of it.
        duration: Duration,
        /// Bytes of its answer, if there was one.
        produced_bytes: Option<u64>,
    },
    /// Why the platform ended an invoke, as text; for subscribers of logs only.
    Fault(String),
    /// An invoke is over; for subscribers of logs only.
    End(RequestId),
    /// What an invoke took.
    Report {
        /// The figures.
        report: Report,
        /// How long extensions went on when the runtime was done.
        extension_overhead: Option<Span>,
    },
    /// Records that a subscriber will not get.
    LogsDropped {
        /// How many.
        records: u64,
        /// How large they were.
        bytes: u64,
        /// Why.
        reason: &'static str,
    },
}

/// The type of an init, which is the function's `AWS_LAMBDA_INITIALIZATION_TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitKind {
    /// For one invoke at a time.
    OnDemand,
    /// For several at a time.
    ManagedInstances,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `responseLatency`, `responseDuration`, `runtimeOverhead` or `extensionOverhead`.
    pub name: &'static str,
    /// Its beginning.
    pub start: Timestamp,
    /// Its length.
    pub duration: Duration,
}

/// A record and when it was made.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// When.
    pub time: Timestamp,
    /// What.
    pub record: Record,
}

// === impl Record ===

impl Record {
    /// How loud it is in a log in JSON (section 6.4).
    pub fn level(&self) -> SystemLevel {
        match self {
            Self::InitStart { .. } | Self::Start { .. } | Self::Subscribed { .. } => SystemLevel::Info,
            Self::InitRuntimeDone { status, .. }
            | Self::InitReport { status, .. }
            | Self::RuntimeDone { status, .. } => status.level(SystemLevel::Debug),
            Self::Report { report, .. } => report.status.level(SystemLevel::Info),
            Self::Extension(status) if status.error_type.is_none() => SystemLevel::Info,
            Self::Extension(_) | Self::LogsDropped { .. } | Self::Fault(_) => SystemLevel::Warn,
            Self::End(_) => SystemLevel::Info,
        }
    }

    /// The record's JSON in a schema; nothing where that schema has no such record.
    pub fn json(&self, time: Timestamp, schema: Schema) -> Option<String> {
        match schema.api() {
            Api::Telemetry => self.telemetry(time, schema),
            Api::Logs => self.log(time, schema),
        }
    }

    fn telemetry(&self, time: Timestamp, schema: Schema) -> Option<String> {
        let newest = schema >= Schema::V20250129;
        Some(match self {
            Self::InitStart { .. } => return self.init_start(time, newest),
            Self::InitRuntimeDone { kind, phase, status } => {
                let body = InitBody::of(kind.word(newest), *phase, Some(status), None);
                envelope(time, "platform.initRuntimeDone", body)
            }
            Self::InitReport { kind, phase, status, duration } => {
                let status = (schema >= Schema::V20221213).then_some(status);
                let body = InitBody::of(kind.word(newest), *phase, status, Some(*duration));
                envelope(time, "platform.initReport", body)
            }
            Self::Extension(status) => extension(time, status),
            Self::Subscribed { api: Api::Telemetry, .. } => {
                return self.subscribed(time, "platform.telemetrySubscription");
            }
            Self::Start { id, arn, version, trace, tenant } => {
                let body = StartBody {
                    request_id: id.to_string(),
                    function_arn: newest.then_some(arn),
                    version,
                    tracing: trace.as_deref().map(|value| Tracing { kind: "X-Amzn-Trace-Id", value }),
                    tenant_id: tenant.as_deref(),
                };
                envelope(time, "platform.start", body)
            }
            Self::RuntimeDone { id, status, spans, duration, produced_bytes } => {
                let body = RuntimeDoneBody {
                    request_id: id.to_string(),
                    outcome: Outcome::of(status),
                    spans: spans.iter().map(SpanBody::of).collect(),
                    metrics: Some(DoneMetrics {
                        duration_ms: millis(*duration),
                        produced_bytes: *produced_bytes,
                    }),
                };
                envelope(time, "platform.runtimeDone", body)
            }
            Self::Report { report, extension_overhead } => {
                let body = ReportBody {
                    request_id: report.id.to_string(),
                    metrics: ReportMetrics::of(report),
                    spans: extension_overhead.iter().map(SpanBody::of).collect(),
                    outcome: Some(Outcome::of(&report.status)),
                };
                envelope(time, "platform.report", body)
            }
            Self::LogsDropped { .. } => return self.dropped(time),
            Self::Subscribed { api: Api::Logs, .. } | Self::Fault(_) | Self::End(_) => return None,
        })
    }

    /// The older API: no inits, no spans, no statuses but one.
    fn log(&self, time: Timestamp, schema: Schema) -> Option<String> {
        Some(match self {
            Self::Extension(status) => extension(time, status),
            Self::Subscribed { api: Api::Logs, .. } => {
                return self.subscribed(time, "platform.logsSubscription");
            }
            Self::Start { id, version, .. } => {
                let request_id = id.to_string();
                let body =
                    StartBody { request_id, function_arn: None, version, tracing: None, tenant_id: None };
                envelope(time, "platform.start", body)
            }
            Self::RuntimeDone { id, status, .. } if schema >= Schema::V20210318 => {
                let outcome = Outcome { error_type: None, ..Outcome::of(status) };
                let request_id = id.to_string();
                let body = RuntimeDoneBody { request_id, outcome, spans: Vec::new(), metrics: None };
                envelope(time, "platform.runtimeDone", body)
            }
            Self::Fault(text) => envelope(time, "platform.fault", text),
            Self::End(id) => envelope(time, "platform.end", EndBody { request_id: id.to_string() }),
            Self::Report { report, .. } => {
                let metrics = ReportMetrics::of(report);
                let request_id = report.id.to_string();
                let body = ReportBody { request_id, metrics, spans: Vec::new(), outcome: None };
                envelope(time, "platform.report", body)
            }
            Self::LogsDropped { .. } => return self.dropped(time),
            _ => return None,
        })
    }

    fn init_start(&self, time: Timestamp, newest: bool) -> Option<String> {
        let Self::InitStart {
            kind,
            phase,
            runtime_version,
            runtime_version_arn,
            function_name,
            function_arn,
            function_version,
            instance_id,
            memory_size,
        } = self
        else {
            return None;
        };
        let body = InitStartBody {
            initialization_type: kind.word(newest),
            phase: phase.word(),
            runtime_version,
            runtime_version_arn,
            function_name,
            function_arn: newest.then_some(function_arn),
            function_version,
            instance_id,
            instance_max_memory: u64::from(*memory_size) << 20,
        };
        Some(envelope(time, "platform.initStart", body))
    }

    fn subscribed(&self, time: Timestamp, kind: &str) -> Option<String> {
        let Self::Subscribed { name, again, types, .. } = self else { return None };
        let state = if *again { "Already subscribed" } else { "Subscribed" };
        Some(envelope(time, kind, SubscribedBody { name, state, types }))
    }

    fn dropped(&self, time: Timestamp) -> Option<String> {
        let Self::LogsDropped { records, bytes, reason } = self else { return None };
        let body = DroppedBody { dropped_bytes: *bytes, dropped_records: *records, reason };
        Some(envelope(time, "platform.logsDropped", body))
    }
}

fn extension(time: Timestamp, status: &ExtensionStatus) -> String {
    let ExtensionStatus { name, state, events, error_type } = status;
    let (state, events) = (state.word(), events.words());
    let body = ExtensionBody { name, state, events, error_type: error_type.as_deref() };
    envelope(time, "platform.extension", body)
}

/// A line of output as a record. With `objects`, where the log is in JSON, a line that is a JSON object is the record
/// itself, from the second schema of the Telemetry API on.
pub fn line(time: Timestamp, category: Category, text: &str, schema: Schema, objects: bool) -> String {
    let kind = match category {
        Category::Platform => "platform",
        Category::Function => "function",
        Category::Extension => "extension",
    };
    if objects
        && schema >= Schema::V20221213
        && text.starts_with('{')
        && let Ok(object) = serde_json::from_str::<&RawValue>(text)
    {
        return envelope(time, kind, object);
    }
    envelope(time, kind, text)
}

// === impl InitKind ===

impl InitKind {
    /// EX-18: subscribers of older schemas know one type, and would refuse all records for another.
    fn word(self, newest: bool) -> &'static str {
        match self {
            Self::ManagedInstances if newest => "lambda-managed-instances",
            Self::OnDemand | Self::ManagedInstances => "on-demand",
        }
    }
}

// === impl Stamped ===

impl Stamped {
    /// A record of this moment.
    pub fn now(record: Record) -> Self {
        Self { time: Timestamp::now(), record }
    }

    /// Its JSON in a schema.
    pub fn json(&self, schema: Schema) -> Option<String> {
        self.record.json(self.time, schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::{ExtensionState, Subscriptions};

    const ID: &str = "5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10";

    fn time() -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_123).unwrap()
    }

    fn id() -> RequestId {
        RequestId::parse(ID).unwrap()
    }

    /// The record without its time, which is always the same.
    fn json(record: &Record, schema: Schema) -> String {
        let json = record.json(time(), schema).unwrap_or_default();
        json.replacen(r#""time":"2023-11-14T22:13:20.123Z","#, "", 1).replace(ID, "ID")
    }

    fn span(name: &'static str, micros: u64) -> Span {
        Span { name, start: time(), duration: Duration::from_micros(micros) }
    }

    fn report(status: Status) -> Record {
        let report = Report {
            id: id(),
            duration: Duration::from_micros(1_005_219),
            init: Some(Duration::from_micros(576_960)),
            memory_size: 512,
            max_memory: 103,
            status,
            segment: None,
        };
        Record::Report { report, extension_overhead: Some(span("extensionOverhead", 7)) }
    }

    #[test]
    fn ex_15_inits() {
        let start = Record::InitStart {
            kind: InitKind::OnDemand,
            phase: InitPhase::Init,
            runtime_version: "r".to_owned(),
            runtime_version_arn: "ra".to_owned(),
            function_name: "stork".to_owned(),
            function_arn: "arn".to_owned(),
            function_version: "$LATEST".to_owned(),
            instance_id: "i".to_owned(),
            memory_size: 128,
        };
        assert_eq!(
            json(&start, Schema::V20220701),
            r#"{"type":"platform.initStart","record":{"initializationType":"on-demand","phase":"init","runtimeVersion":"r","runtimeVersionArn":"ra","functionName":"stork","functionVersion":"$LATEST","instanceId":"i","instanceMaxMemory":134217728}}"#
        );
        assert!(json(&start, Schema::V20250129).contains(r#""functionArn":"arn""#));
        let done = Record::InitRuntimeDone {
            kind: InitKind::ManagedInstances,
            phase: InitPhase::Invoke,
            status: Status::Error("Runtime.ExitError".to_owned()),
        };
        assert_eq!(
            json(&done, Schema::V20220701),
            r#"{"type":"platform.initRuntimeDone","record":{"initializationType":"on-demand","phase":"invoke","status":"error","errorType":"Runtime.ExitError"}}"#
        );
        let report = Record::InitReport {
            kind: InitKind::ManagedInstances,
            phase: InitPhase::Init,
            status: Status::Success,
            duration: Duration::from_micros(576_959),
        };
        assert_eq!(
            json(&report, Schema::V20220701),
            r#"{"type":"platform.initReport","record":{"initializationType":"on-demand","phase":"init","metrics":{"durationMs":576.959}}}"#
        );
        assert_eq!(
            json(&report, Schema::V20221213),
            r#"{"type":"platform.initReport","record":{"initializationType":"on-demand","phase":"init","status":"success","metrics":{"durationMs":576.959}}}"#
        );
        for record in [&done, &report] {
            let newest = json(record, Schema::V20250129);
            assert!(
                newest.contains(r#"{"initializationType":"lambda-managed-instances","phase":"in"#),
                "{newest}"
            );
        }
        for logs in [Schema::V20200815, Schema::V20210318] {
            for record in [&start, &done, &report] {
                assert_eq!(json(record, logs), "");
            }
        }
    }

    #[test]
    fn extensions_and_subscriptions() {
        let status = ExtensionStatus {
            name: "lens".to_owned(),
            state: ExtensionState::Ready,
            events: Subscriptions { invoke: true, shutdown: true },
            error_type: None,
        };
        for schema in [Schema::V20200815, Schema::V20250129] {
            assert_eq!(
                json(&Record::Extension(status.clone()), schema),
                r#"{"type":"platform.extension","record":{"name":"lens","state":"Ready","events":["INVOKE","SHUTDOWN"]}}"#
            );
        }
        let subscribed = |api, again| Record::Subscribed {
            api,
            name: "lens".to_owned(),
            again,
            types: vec![Category::Platform, Category::Function],
        };
        assert_eq!(
            json(&subscribed(Api::Telemetry, false), Schema::V20220701),
            r#"{"type":"platform.telemetrySubscription","record":{"name":"lens","state":"Subscribed","types":["platform","function"]}}"#
        );
        assert!(json(&subscribed(Api::Logs, true), Schema::V20210318).starts_with(
            r#"{"type":"platform.logsSubscription","record":{"name":"lens","state":"Already subscribed","#
        ));
        assert_eq!(json(&subscribed(Api::Logs, false), Schema::V20250129), "");
    }

    #[test]
    fn ex_15_ex_17_lg_09_invokes() {
        let start = Record::Start {
            id: id(),
            arn: "arn".to_owned(),
            version: "$LATEST".to_owned(),
            trace: Some("Root=1".to_owned()),
            tenant: Some("blue".to_owned()),
        };
        assert_eq!(
            json(&start, Schema::V20250129),
            r#"{"type":"platform.start","record":{"requestId":"ID","functionArn":"arn","version":"$LATEST","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1"},"tenantId":"blue"}}"#
        );
        assert!(!json(&start, Schema::V20221213).contains("functionArn"));
        assert_eq!(
            json(&start, Schema::V20200815),
            r#"{"type":"platform.start","record":{"requestId":"ID","version":"$LATEST"}}"#
        );
        let done = Record::RuntimeDone {
            id: id(),
            status: Status::Success,
            spans: vec![span("responseLatency", 1_003_794), span("runtimeOverhead", 576)],
            duration: Duration::from_micros(1_004_692),
            produced_bytes: Some(192),
        };
        assert_eq!(
            json(&done, Schema::V20220701),
            r#"{"type":"platform.runtimeDone","record":{"requestId":"ID","status":"success","spans":[{"name":"responseLatency","start":"2023-11-14T22:13:20.123Z","durationMs":1003.794},{"name":"runtimeOverhead","start":"2023-11-14T22:13:20.123Z","durationMs":0.576}],"metrics":{"durationMs":1004.692,"producedBytes":192}}}"#
        );
        assert_eq!(
            json(&done, Schema::V20210318),
            r#"{"type":"platform.runtimeDone","record":{"requestId":"ID","status":"success"}}"#
        );
        assert_eq!(json(&done, Schema::V20200815), "", "the older version has none");
        assert_eq!(
            json(&report(Status::Success), Schema::V20221213),
            r#"{"type":"platform.report","record":{"requestId":"ID","metrics":{"durationMs":1005.219,"billedDurationMs":1583,"memorySizeMB":512,"maxMemoryUsedMB":103,"initDurationMs":576.96},"spans":[{"name":"extensionOverhead","start":"2023-11-14T22:13:20.123Z","durationMs":0.007}],"status":"success"}}"#
        );
        assert_eq!(
            json(&report(Status::Timeout), Schema::V20210318),
            r#"{"type":"platform.report","record":{"requestId":"ID","metrics":{"durationMs":1005.219,"billedDurationMs":1583,"memorySizeMB":512,"maxMemoryUsedMB":103,"initDurationMs":576.96}}}"#
        );
    }

    #[test]
    fn faults_and_ends_are_for_logs_only() {
        let fault = Record::Fault("RequestId: x Error: y\nRuntime.ExitError\n".to_owned());
        assert_eq!(
            json(&fault, Schema::V20200815),
            r#"{"type":"platform.fault","record":"RequestId: x Error: y\nRuntime.ExitError\n"}"#
        );
        assert_eq!(
            json(&Record::End(id()), Schema::V20210318),
            r#"{"type":"platform.end","record":{"requestId":"ID"}}"#
        );
        for record in [fault, Record::End(id())] {
            assert_eq!(json(&record, Schema::V20250129), "");
        }
    }

    #[test]
    fn ex_16_statuses_are_the_contracts() {
        let status = |status: Status| {
            let text = json(&report(status), Schema::V20250129);
            text.rsplit_once(r#"],""#).unwrap().1.to_owned()
        };
        let word = || "Extension.Crash".to_owned();
        assert_eq!(status(Status::Success), r#"status":"success"}}"#);
        assert_eq!(status(Status::Timeout), r#"status":"timeout"}}"#);
        assert_eq!(status(Status::Error(word())), r#"status":"error","errorType":"Extension.Crash"}}"#);
        assert_eq!(status(Status::Failure(word())), r#"status":"failure","errorType":"Extension.Crash"}}"#);
        let dropped = Record::LogsDropped { records: 2, bytes: 30, reason: "slow" };
        assert_eq!(
            json(&dropped, Schema::V20200815),
            r#"{"type":"platform.logsDropped","record":{"droppedBytes":30,"droppedRecords":2,"reason":"slow"}}"#
        );
    }

    #[test]
    fn lines_are_texts_or_objects() {
        let line = |text: &str, schema, objects| {
            let json = line(time(), Category::Function, text, schema, objects);
            json.replacen(r#"{"time":"2023-11-14T22:13:20.123Z","type":"function","record":"#, "", 1)
        };
        let object = "{\"level\":\"INFO\", \"n\":1.0}\n";
        assert_eq!(line("a line\n", Schema::V20221213, true), r#""a line\n"}"#);
        assert_eq!(line(object, Schema::V20221213, true), r#"{"level":"INFO", "n":1.0}}"#);
        for (schema, objects) in [(Schema::V20220701, true), (Schema::V20221213, false)] {
            assert_eq!(line(object, schema, objects), r#""{\"level\":\"INFO\", \"n\":1.0}\n"}"#);
        }
        assert_eq!(line("{half\n", Schema::V20250129, true), r#""{half\n"}"#);
    }
}
