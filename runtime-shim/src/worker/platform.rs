//! The platform's own words about one worker, each said once: a line of text, or a record, which is a line of a log in JSON
//! and what subscribers get. Records are made only where somebody wants them.

use std::sync::Arc;
use std::time::Duration;

use tm_lambda::extension::ExtensionStatus;
use tm_lambda::log::{self, InitPhase, Report, Status};
use tm_lambda::log_tail::LogFormat;
use tm_lambda::telemetry::{Api, Category, InitKind, Record, Span, Stamped};
use tm_lambda::{FunctionError, RequestId};
use uuid::Uuid;

use super::ending::Ending;
use super::timing::Timing;
use crate::config::Config;
use crate::invocation::Delivery;
use crate::logs::Note;
use crate::process::StartError;
use crate::telemetry::Hub;

/// Who speaks. Clones speak of the same worker.
#[derive(Clone, Debug)]
pub(super) struct Platform {
    config: Arc<Config>,
    hub: Hub,
}

// === impl Platform ===

impl Platform {
    pub(super) fn new(config: Arc<Config>) -> Self {
        let hub = Hub::new(config.system_log.format == LogFormat::Json);
        Self { config, hub }
    }

    /// Who listens beside the log.
    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Whether anybody wants more than lines of text.
    pub(super) fn is_observed(&self) -> bool {
        self.is_json() || self.hub.is_active()
    }

    fn init_kind(&self) -> InitKind {
        if self.config.concurrency > 1 { InitKind::ManagedInstances } else { InitKind::OnDemand }
    }

    fn is_json(&self) -> bool {
        self.config.system_log.format == LogFormat::Json
    }

    fn say(&self, note: &mut Note, text: impl FnOnce() -> String, record: impl FnOnce() -> Record) {
        if !self.is_json() {
            let text = text();
            // Most notes are one line; it is not copied.
            if note.lines.is_empty() {
                note.lines = text;
            } else {
                note.lines.push_str(&text);
            }
        }
        if self.is_observed() {
            self.record(note, Stamped::now(record()));
        }
    }

    fn record(&self, note: &mut Note, stamped: Stamped) {
        if self.is_json() {
            let log = &self.config.system_log;
            let line = log.json(&stamped);
            if log.wants(&stamped.record) {
                note.lines.push_str(&line);
            }
            note.unfiltered.push_str(&line);
        }
        if self.hub.is_active() {
            note.records.push(stamped);
        }
    }

    /// An init begins. A log of text tells of those ahead of invokes only.
    pub(super) fn init_start(&self, phase: InitPhase) -> Note {
        let function = &self.config.function;
        let version = env!("CARGO_PKG_VERSION");
        let runtime_version = format!("runtime-shim/{version}");
        let arn = format!("arn:aws:lambda:{}::runtime:runtime-shim-{version}", function.region);
        let mut note = Note::default();
        let text = || match phase {
            InitPhase::Init => log::init_start(&runtime_version, &arn),
            InitPhase::Invoke => String::new(),
        };
        self.say(&mut note, text, || Record::InitStart {
            kind: self.init_kind(),
            phase,
            runtime_version: runtime_version.clone(),
            runtime_version_arn: arn.clone(),
            function_name: function.name.to_string(),
            function_arn: function.arn.to_string(),
            function_version: function.version.to_string(),
            instance_id: Uuid::new_v4().simple().to_string(),
            memory_size: function.memory_size,
        });
        note
    }

    /// The runtime's part of an init is over.
    pub(super) fn init_runtime_done(&self, phase: InitPhase, status: Status) -> Note {
        let mut note = Note::default();
        self.say(&mut note, String::new, || Record::InitRuntimeDone {
            kind: self.init_kind(),
            phase,
            status,
        });
        note
    }

    /// An init is over: where extensions stand, and the report. A log of text reports failures only.
    pub(super) fn init_end(
        &self,
        note: &mut Note,
        phase: InitPhase,
        extensions: Vec<ExtensionStatus>,
        duration: Duration,
        status: &Status,
    ) {
        for extension in extensions {
            self.say(note, || log::extension(&extension), || Record::Extension(extension.clone()));
        }
        let text = || match status {
            Status::Success => String::new(),
            status => log::init_report(duration, phase, status),
        };
        self.say(note, text, || Record::InitReport {
            kind: self.init_kind(),
            phase,
            status: status.clone(),
            duration,
        });
    }

    /// The command of an image could not be started; only a log of text tells of it.
    pub(super) fn not_launched(&self, ending: &Ending) -> Note {
        let Ending::NotStarted(StartError::InvalidEntrypoint(reason) | StartError::InvalidWorkingDir(reason)) =
            ending
        else {
            return Note::default();
        };
        let command: Vec<String> =
            self.config.launch.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let Some((program, arguments)) = command.split_first().filter(|_| !self.is_json()) else {
            return Note::default();
        };
        let directory = std::env::current_dir().unwrap_or_default();
        let lines = log::image(reason, program, arguments, &directory.to_string_lossy());
        Note { lines, ..Note::default() }
    }

    /// Somebody subscribes.
    pub(super) fn subscribed(&self, api: Api, name: &str, again: bool, types: Vec<Category>) -> Note {
        let mut note = Note::default();
        let record = || Record::Subscribed { api, name: name.to_owned(), again, types };
        self.say(&mut note, String::new, record);
        note
    }

    /// An invoke begins.
    pub(super) fn start(&self, delivery: &Delivery) -> Note {
        let mut note = Note::default();
        self.start_in(&mut note, delivery);
        note
    }

    /// The same, behind what is said already.
    pub(super) fn start_in(&self, note: &mut Note, delivery: &Delivery) {
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let version = &self.config.function.version;
        self.say(
            note,
            || log::start(delivery.id, version),
            || Record::Start {
                id: delivery.id,
                arn: text(&delivery.context.arn),
                version: version.to_string(),
                trace: delivery.context.trace.as_ref().map(text),
                tenant: delivery.context.more.as_ref().and_then(|more| more.tenant.as_ref()).map(text),
            },
        );
    }

    /// The runtime's part of an invoke is over.
    pub(super) fn runtime_done(&self, id: RequestId, status: Status, timing: &Timing) -> Note {
        let mut note = Note::default();
        self.say(&mut note, String::new, || Record::RuntimeDone {
            id,
            status,
            spans: timing.spans(),
            duration: timing.duration(),
            produced_bytes: timing.produced_bytes(),
        });
        note
    }

    /// An invoke is over: why it failed, END and REPORT.
    pub(super) fn invoke_end(
        &self,
        note: &mut Note,
        report: Report,
        error: Option<&FunctionError>,
        extension_overhead: Option<Span>,
    ) {
        let (id, limit) = (report.id, self.config.function_timeout);
        if let Some(error) = error.filter(|error| !error.is_reported()) {
            let text = || log::fault(&report.status, id, error, limit);
            self.say(note, text, || Record::Fault(log::failure(error)));
        }
        self.say(note, || log::end(id), || Record::End(id));
        self.say(
            note,
            || log::report(&report),
            || Record::Report { report: report.clone(), extension_overhead },
        );
    }
}
