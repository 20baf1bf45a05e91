//! Platform log lines: in text form here (section 6.1), in JSON by [`SystemLog`]. Every function gives whole lines, newline
//! included.

mod application;
mod system;

use std::time::Duration;

use crate::duration_text::{hundredths_of_millis, millis};
use crate::extension::ExtensionStatus;
use crate::function_error::FunctionError;
use crate::id::{FunctionVersion, RequestId};
use crate::trace::Segment;

pub use application::{ApplicationLevel, ApplicationLog};
pub use system::{SystemLevel, SystemLog};

/// When an init happened, as `INIT_REPORT` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitPhase {
    /// Ahead of any invoke.
    Init,
    /// Repeated inside an invoke ("suppressed init").
    Invoke,
}

/// How a phase ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Well, or with an error that the runtime reported itself.
    Success,
    /// By the deadline.
    Timeout,
    /// By a crash; the error type.
    Error(String),
    /// By something else than the runtime, which was at work; the error type. Only of the runtime's own part.
    Failure(String),
}

/// What `REPORT` says about an invoke.
#[derive(Clone, Debug)]
pub struct Report {
    /// The invoke.
    pub id: RequestId,
    /// From the dispatch to the end of the phase.
    pub duration: Duration,
    /// The init that this invoke pays for: only the first one of an environment does.
    pub init: Option<Duration>,
    /// The configured memory, in MB.
    pub memory_size: u32,
    /// The peak of the environment so far, in MB.
    pub max_memory: u64,
    /// How the invoke ended.
    pub status: Status,
    /// Where its trace is recorded, if it is.
    pub segment: Option<Segment>,
}

/// `INIT_START …`.
pub fn init_start(runtime_version: &str, arn: &str) -> String {
    format!("INIT_START Runtime Version: {runtime_version}\tRuntime Version ARN: {arn}\n")
}

/// `INIT_REPORT …`; printed only when an init failed.
pub fn init_report(duration: Duration, phase: InitPhase, status: &Status) -> String {
    let phase = phase.word();
    let status = status.fields().unwrap_or_else(|| "Status: success".to_owned());
    format!("INIT_REPORT Init Duration: {} ms\tPhase: {phase}\t{status}\n", millis(duration))
}

/// `EXTENSION …`; printed at the end of an init, for each extension.
pub fn extension(status: &ExtensionStatus) -> String {
    let ExtensionStatus { name, state, events, error_type } = status;
    let (state, events) = (state.word(), events.words().join(","));
    let error = error_type.as_ref().map(|word| format!("\tError Type: {word}")).unwrap_or_default();
    format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{events}]{error}\n")
}

/// `START …`.
pub fn start(id: RequestId, version: &FunctionVersion) -> String {
    format!("START RequestId: {id} Version: {version}\n")
}

/// `END …`.
pub fn end(id: RequestId) -> String {
    format!("END RequestId: {id}\n")
}

/// `REPORT …`, and `XRAY …` behind it where the trace is sampled.
pub fn report(report: &Report) -> String {
    let Report { id, duration, init, memory_size, max_memory, status, segment } = report;
    let mut line = format!(
        "REPORT RequestId: {id}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {memory_size} MB\tMax Memory Used: {max_memory} MB\t",
        millis(*duration),
        billed(*duration, *init),
    );
    if let Some(init) = init {
        line.push_str(&format!("Init Duration: {} ms\t", millis(*init)));
    }
    // A success ends with the separator, a failure with its status: so AWS's lines look.
    line.push_str(&status.fields().unwrap_or_default());
    line.push('\n');
    if let Some(Segment { trace, id }) = segment {
        line.push_str(&format!("XRAY TraceId: {trace}\tSegmentId: {id}\tSampled: true\n"));
    }
    line
}

/// `IMAGE …`: the command of an image could not be started.
pub fn image(reason: &str, program: &str, arguments: &[String], directory: &str) -> String {
    let arguments = arguments.join(",");
    format!(
        "IMAGE\tLaunch error: {reason}\tEntrypoint: [{program}]\tCmd: [{arguments}]\tWorkingDir: [{directory}]\n"
    )
}

/// The lines before `END` that say why the platform ended an invoke; nothing for errors of the runtime's own.
pub fn fault(status: &Status, id: RequestId, error: &FunctionError, limit: Duration) -> String {
    match status {
        Status::Timeout => timeout(jiff::Timestamp::now(), id, limit),
        _ => failure(error),
    }
}

/// The two lines that name an error of the platform's.
pub fn failure(error: &FunctionError) -> String {
    match error.message() {
        "" => String::new(),
        message => format!("{message}\n{}\n", error.error_type()),
    }
}

/// The line that AWS prints for a timeout.
fn timeout(now: jiff::Timestamp, id: RequestId, timeout: Duration) -> String {
    let seconds = crate::duration_text::seconds(timeout);
    format!("{} {id} Task timed out after {seconds} seconds\n", now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
}

/// LG-06: what is printed, added up and rounded up; at least one millisecond.
pub(crate) fn billed(duration: Duration, init: Option<Duration>) -> u128 {
    let sum = hundredths_of_millis(duration) + init.map_or(0, hundredths_of_millis);
    sum.div_ceil(100).max(1)
}

// === impl InitPhase ===

impl InitPhase {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Invoke => "invoke",
        }
    }
}

// === impl Status ===

impl Status {
    fn fields(&self) -> Option<String> {
        match self {
            Self::Success => None,
            Self::Timeout => Some("Status: timeout".to_owned()),
            Self::Error(error_type) | Self::Failure(error_type) => {
                Some(format!("Status: error\tError Type: {error_type}"))
            }
        }
    }

    /// How loud it is: failures are warnings.
    pub(crate) fn level(&self, success: SystemLevel) -> SystemLevel {
        if *self == Self::Success { success } else { SystemLevel::Warn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::{ExtensionState, Subscriptions};

    fn id() -> RequestId {
        RequestId::parse("5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10").unwrap()
    }

    fn sample() -> Report {
        Report {
            id: id(),
            duration: Duration::from_micros(152_470),
            init: Some(Duration::from_micros(66_170)),
            memory_size: 128,
            max_memory: 23,
            status: Status::Success,
            segment: None,
        }
    }

    #[test]
    fn lg_01_sampled_traces_and_images() {
        let segment = Segment { trace: "1-5759e988-bd86".to_owned(), id: "53995c3f42cd8ad8".to_owned() };
        let report = report(&Report { segment: Some(segment), ..sample() });
        let last = "\t\nXRAY TraceId: 1-5759e988-bd86\tSegmentId: 53995c3f42cd8ad8\tSampled: true\n";
        assert!(report.ends_with(last), "{report}");
        let line = image("no such file", "/app", &["a".to_owned(), "b".to_owned()], "/srv");
        let expected =
            "IMAGE\tLaunch error: no such file\tEntrypoint: [/app]\tCmd: [a,b]\tWorkingDir: [/srv]\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn lines_are_byte_exact() {
        let id_text = "5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10";
        assert_eq!(
            start(id(), &FunctionVersion::latest()),
            format!("START RequestId: {id_text} Version: $LATEST\n")
        );
        assert_eq!(end(id()), format!("END RequestId: {id_text}\n"));
        assert_eq!(
            report(&sample()),
            format!(
                "REPORT RequestId: {id_text}\tDuration: 152.47 ms\tBilled Duration: 219 ms\tMemory Size: 128 MB\tMax Memory Used: 23 MB\tInit Duration: 66.17 ms\t\n"
            )
        );
        let warm = Report { init: None, ..sample() };
        assert!(
            report(&warm)
                .ends_with("Billed Duration: 153 ms\tMemory Size: 128 MB\tMax Memory Used: 23 MB\t\n")
        );
    }

    #[test]
    fn failed_reports_end_with_their_status() {
        let timeout =
            Report { status: Status::Timeout, init: None, duration: Duration::from_secs(5), ..sample() };
        let line = report(&timeout);
        assert!(line.contains("Duration: 5000.00 ms\tBilled Duration: 5000 ms\t"), "{line}");
        assert!(line.ends_with("MB\tStatus: timeout\n"), "{line}");
        let crash = Report { status: Status::Error("Extension.Crash".into()), ..timeout };
        assert!(report(&crash).ends_with("MB\tStatus: error\tError Type: Extension.Crash\n"));
    }

    #[test]
    fn init_reports() {
        let duration = Duration::from_micros(463_590);
        assert_eq!(
            init_report(duration, InitPhase::Init, &Status::Error("Extension.Crash".into())),
            "INIT_REPORT Init Duration: 463.59 ms\tPhase: init\tStatus: error\tError Type: Extension.Crash\n"
        );
        assert_eq!(
            init_report(duration, InitPhase::Invoke, &Status::Timeout),
            "INIT_REPORT Init Duration: 463.59 ms\tPhase: invoke\tStatus: timeout\n"
        );
    }

    #[test]
    fn extensions() {
        let probe = ExtensionStatus {
            name: "probe.sh".to_owned(),
            state: ExtensionState::Started,
            events: Subscriptions::default(),
            error_type: None,
        };
        assert_eq!(extension(&probe), "EXTENSION\tName: probe.sh\tState: Started\tEvents: []\n");
        let failed = ExtensionStatus {
            state: ExtensionState::InitError,
            events: Subscriptions { invoke: true, shutdown: true },
            error_type: Some("Extension.NoKey".to_owned()),
            ..probe
        };
        assert!(
            extension(&failed)
                .ends_with("InitError\tEvents: [INVOKE,SHUTDOWN]\tError Type: Extension.NoKey\n")
        );
    }

    #[test]
    fn lg_06_billing_adds_the_init_and_rounds_up() {
        let micros = Duration::from_micros;
        assert_eq!(billed(micros(1_005_219), Some(micros(576_960))), 1_583);
        assert_eq!(billed(micros(383_300), None), 384);
        assert_eq!(billed(micros(0), None), 1);
    }
}
