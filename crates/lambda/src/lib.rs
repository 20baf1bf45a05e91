//! Lambda words: ids, headers, deadlines, error bodies, log lines, event forms; no I/O.
//!
//! `runtime-shim` moves these between its HTTP front, its queue and the Runtime API; `tm` uses the names and limits.
//! Everything here is a plain value or a plain function, so that the contract is tested without a socket.

pub mod api_error;
pub mod arn;
pub mod cloud_event;
pub mod deadline;
pub mod duration;
mod duration_text;
pub mod environment;
pub mod error_type;
pub mod event_stream;
pub mod extension;
pub mod function_error;
pub mod headers;
pub mod http_event;
pub mod id;
pub mod invoke;
pub mod limits;
pub mod log;
pub mod log_tail;
pub mod prelude;
pub mod runtime_state;
pub mod telemetry;
pub mod trace;

pub use arn::FunctionArn;
pub use deadline::Deadline;
pub use function_error::{FunctionError, RuntimeExit};
pub use id::{FunctionName, FunctionVersion, RequestId};
pub use runtime_state::{RuntimeCall, RuntimeState};
pub use trace::TraceId;
