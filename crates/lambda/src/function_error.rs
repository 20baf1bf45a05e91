//! What the caller of a buffered invoke receives when the function failed (section 4.4), byte for byte.

use std::fmt;

use bytes::Bytes;

use crate::duration_text::seconds;
use crate::error_type;
use crate::headers;
use crate::id::RequestId;

/// A failed invoke: the payload for the caller, and the type for log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    error_type: String,
    payload: Bytes,
    message: String,
    /// The runtime's own word for it, where that is fit to be repeated.
    code: Option<String>,
}

/// How a runtime process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeExit {
    /// It returned a code.
    Code(i32),
    /// It was ended by a signal.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether it left a core.
        core_dumped: bool,
    },
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    error_type: &'a str,
    error_message: &'a str,
}

/// What is passed on of a body with a cause.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithCause {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_message: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_type: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stack_trace: Option<serde_json::Value>,
}

/// What the caller gets instead of a body that cannot be read.
const INVALID_BODY: &[u8] = b"Invalid error body";

// === impl FunctionError ===

impl FunctionError {
    /// LC-09, LC-10: the process ended during the invoke or during a repeated init.
    pub fn exited(id: RequestId, exit: RuntimeExit) -> Self {
        Self::with_id(error_type::EXIT_ERROR, id, &exit.to_string())
    }

    /// LC-15: the function timeout passed.
    pub fn timed_out(id: RequestId, timeout: std::time::Duration) -> Self {
        Self::with_id(error_type::TIMED_OUT, id, &Self::timed_out_text(timeout))
    }

    /// The words of a timeout; all that AWS's emulator answers.
    pub fn timed_out_text(timeout: std::time::Duration) -> String {
        format!("Task timed out after {} seconds", seconds(timeout))
    }

    /// EN-21: there is no usable bootstrap.
    pub fn invalid_entrypoint(id: RequestId, reason: &str) -> Self {
        Self::with_id(error_type::INVALID_ENTRYPOINT, id, reason)
    }

    /// The working directory cannot be entered.
    pub fn invalid_working_dir(id: RequestId, reason: &str) -> Self {
        Self::with_id(error_type::INVALID_WORKING_DIR, id, reason)
    }

    /// RT-28, LM-04: the result is over this limit.
    pub fn response_too_large(limit: usize) -> Self {
        let text = format!("Response payload size exceeded maximum allowed payload size ({limit} bytes).");
        Self::new(error_type::RESPONSE_TOO_LARGE, &text)
    }

    /// RT-31: the upload of the result broke off.
    pub fn truncated(id: RequestId) -> Self {
        Self::with_id(error_type::TRUNCATED_RESPONSE, id, "HTTP request detected as truncated")
    }

    /// RT-27: the runtime asked for a response mode that does not exist.
    pub fn invalid_response_mode(id: RequestId) -> Self {
        Self::with_id(error_type::INVALID_RESPONSE_MODE, id, "Invalid function response mode")
    }

    /// ST-10: a stream for HTTP callers has no usable prelude.
    pub fn invalid_prelude(id: RequestId, reason: &str) -> Self {
        Self::with_id(error_type::INVALID_PRELUDE, id, reason)
    }

    /// CE-15: the result should be a CloudEvent and is none.
    pub fn invalid_reply(id: RequestId, reason: &str) -> Self {
        Self::with_id(error_type::INVALID_REPLY, id, reason)
    }

    /// LC-12, EX-09: an extension failed, and its environment with it.
    pub fn extension(error_type: &str, id: RequestId, reason: &str) -> Self {
        Self::with_id(error_type, id, reason)
    }

    /// The platform failed after the function had started (IN-16).
    pub fn sandbox_failure(id: RequestId, reason: &str) -> Self {
        Self::with_id(error_type::SANDBOX_FAILURE, id, reason)
    }

    /// RT-33, RT-37: the runtime's own words, verbatim. RT-34: an error without a body gets one from its header.
    pub fn reported(header: Option<&str>, body: Bytes) -> Self {
        let error_type = error_type::classify(header.unwrap_or_default());
        let code = header.filter(|text| is_code(text)).map(str::to_owned);
        if body.is_empty() {
            return Self { code, ..Self::new(&error_type, "the runtime reported an error without a body") };
        }
        Self { error_type, payload: body, message: String::new(), code }
    }

    /// The same for `application/vnd.aws.lambda.error.cause+json`: the cause is X-Ray's and goes no further.
    pub fn reported_with_cause(header: Option<&str>, body: &[u8]) -> Self {
        let body = serde_json::from_slice::<WithCause>(body).and_then(|known| serde_json::to_vec(&known));
        Self::reported(header, body.map_or(Bytes::from_static(INVALID_BODY), Bytes::from))
    }

    /// RT-38: what the payload is. A runtime may report anything; what the platform says is always JSON.
    pub fn content_type(&self) -> &'static str {
        // The parser alone does not look into strings that it skips.
        let text = || std::str::from_utf8(&self.payload).ok();
        let json = || text().is_some_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
        if !self.is_reported() || json() { headers::JSON } else { headers::OCTET_STREAM }
    }

    /// The type, as it stands in `REPORT` and `INIT_REPORT`.
    pub fn error_type(&self) -> &str {
        &self.error_type
    }

    /// The type in the runtime's own words, where it had some (ST-15), else as in [`FunctionError::error_type`].
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or(&self.error_type)
    }

    /// Whether the runtime reported it, in contrast to what the platform noticed.
    pub fn is_reported(&self) -> bool {
        self.message.is_empty()
    }

    /// The payload for the caller.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// `RequestId: … Error: …`, for the log; empty for errors the runtime reported itself.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn with_id(error_type: &str, id: RequestId, reason: &str) -> Self {
        Self::new(error_type, &format!("RequestId: {id} Error: {reason}"))
    }

    fn new(error_type: &str, message: &str) -> Self {
        let payload = serde_json::to_vec(&Payload { error_type, error_message: message });
        Self {
            error_type: error_type.to_owned(),
            payload: payload.expect("two strings serialise").into(),
            message: message.to_owned(),
            code: None,
        }
    }
}

/// One word of a sensible length.
fn is_code(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

// === impl RuntimeExit ===

impl RuntimeExit {
    /// What is said of an extension's end (LC-12): `exit status 17`, `signal: killed`, and of a good one `exit code 0`.
    pub fn of_extension(&self) -> String {
        match self {
            Self::Code(0) => "exit code 0".to_owned(),
            Self::Code(code) => format!("exit status {code}"),
            Self::Signal { number, core_dumped } => {
                let core = if *core_dumped { " (core dumped)" } else { "" };
                format!("signal: {}{core}", signal_name(*number))
            }
        }
    }
}

impl fmt::Display for RuntimeExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(0) => f.write_str("Runtime exited without providing a reason"),
            other => write!(f, "Runtime exited with error: {}", other.of_extension()),
        }
    }
}

/// Signals as Go's `syscall.Signal` spells them on Linux.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id() -> RequestId {
        RequestId::parse("5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10").unwrap()
    }

    fn text(error: &FunctionError) -> &str {
        std::str::from_utf8(error.payload()).unwrap()
    }

    #[test]
    fn lc_15_payloads_are_byte_exact() {
        let prefix = r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10 Error: "#;
        for (exit, words) in [
            (RuntimeExit::Code(1), "Runtime exited with error: exit status 1"),
            (RuntimeExit::Code(0), "Runtime exited without providing a reason"),
            (
                RuntimeExit::Signal { number: 9, core_dumped: false },
                "Runtime exited with error: signal: killed",
            ),
            (
                RuntimeExit::Signal { number: 11, core_dumped: true },
                "Runtime exited with error: signal: segmentation fault (core dumped)",
            ),
        ] {
            assert_eq!(text(&FunctionError::exited(id(), exit)), format!("{prefix}{words}\"}}"));
        }
        let stream = FunctionError::response_too_large(crate::limits::MAX_STREAM_BYTES);
        assert!(text(&stream).ends_with("payload size (209715200 bytes).\"}"), "{}", text(&stream));
        let crash = RuntimeExit::Code(17).of_extension();
        assert_eq!(
            text(&FunctionError::extension(error_type::EXTENSION_CRASH, id(), &crash)),
            r#"{"errorType":"Extension.Crash","errorMessage":"RequestId: 5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10 Error: exit status 17"}"#
        );
        assert_eq!(
            text(&FunctionError::timed_out(id(), Duration::from_secs(3))),
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10 Error: Task timed out after 3.00 seconds"}"#
        );
        assert_eq!(
            text(&FunctionError::response_too_large(6_291_556)),
            r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}"#
        );
    }

    #[test]
    fn rt_34_reported_errors_are_verbatim() {
        let error =
            FunctionError::reported(Some("Runtime.UserException"), Bytes::from_static(b"{ \"a\":1 }"));
        assert_eq!((text(&error), error.error_type()), ("{ \"a\":1 }", "Runtime.UserException"));
        let cause = br#"{"errorCause":{"paths":[]},"errorType":"T","errorMessage":"m","more":1}"#;
        let error = FunctionError::reported_with_cause(None, cause);
        assert_eq!(text(&error), r#"{"errorMessage":"m","errorType":"T"}"#);
        assert_eq!(text(&FunctionError::reported_with_cause(None, b"{")), "Invalid error body");
        let empty = FunctionError::reported(None, Bytes::new());
        assert!(text(&empty).starts_with(r#"{"errorType":"Runtime.Unknown""#));
    }
}
