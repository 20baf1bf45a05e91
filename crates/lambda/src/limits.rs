//! The numbers of the contract, by the name of what they limit.

use std::time::Duration;

/// LM-01: the largest event of a synchronous invoke, in bytes; exactly this many are accepted.
pub const MAX_EVENT_BYTES: usize = 6_291_456;

/// LM-02: the largest buffered result, in bytes (6 MiB and 100 bytes); exactly this many are accepted.
pub const MAX_RESULT_BYTES: usize = 6_291_556;

/// LM-07: the shortest and the longest function timeout that AWS lets a function have.
pub const FUNCTION_TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=900;

/// EN-13: the function timeout where the deployment names none (the emulator's default).
pub const DEFAULT_FUNCTION_TIMEOUT: Duration = Duration::from_secs(300);

/// LM-08: how long a runtime may take from its start to its first `next`.
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// RT-10, RT-11: room for a header block or trailer section that carries an X-Ray cause of 1 MiB.
pub const MAX_RUNTIME_HEADER_BYTES: usize = 2 * 1024 * 1024;

/// LM-19: what the runtime gets between TERM and KILL at shutdown, all together.
pub const SHUTDOWN_BUDGET: Duration = Duration::from_secs(2);

/// CloudWatch's largest log event; a longer line is cut into several.
pub const MAX_LOG_LINE_BYTES: usize = 256 * 1024;
