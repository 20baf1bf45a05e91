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

/// LM-19: the whole shutdown of an environment with external extensions.
pub const SHUTDOWN_BUDGET: Duration = Duration::from_secs(2);

/// LM-19: what of [`SHUTDOWN_BUDGET`] the runtime may take between TERM and KILL.
pub const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(300);

/// LM-19: the whole shutdown of an environment with internal extensions only.
pub const INTERNAL_SHUTDOWN: Duration = Duration::from_millis(500);

/// CloudWatch's largest log event; a longer line is cut into several.
pub const MAX_LOG_LINE_BYTES: usize = 256 * 1024;

/// LM-03: the largest event of an asynchronous invoke, in bytes.
pub const MAX_ASYNC_EVENT_BYTES: usize = 1_048_576;

/// LM-03: the same for the deprecated `invoke-async`.
pub const MAX_INVOKE_ASYNC_BYTES: usize = 262_144;

/// LM-04: the largest streamed result, in bytes; what comes after is cut off.
pub const MAX_STREAM_BYTES: usize = 209_715_200;

/// LM-06: the longest `X-Amz-Client-Context`, in base64.
pub const MAX_CLIENT_CONTEXT_BYTES: usize = 3_583;

/// LM-12: the most descriptors of a process.
pub const MAX_DESCRIPTORS: u64 = 1_024;

/// LM-16: what `X-Amz-Log-Type: Tail` gives, in bytes before repair.
pub const LOG_TAIL_BYTES: usize = 4_096;

/// LM-21: the longest tenant id.
pub const MAX_TENANT_ID_BYTES: usize = 256;

/// LM-22: how long an asynchronous event may wait for a worker.
pub const MAX_EVENT_AGE: Duration = Duration::from_secs(21_600);

/// ST-10: the longest prelude of a stream for HTTP callers. AWS's own limit is not known.
pub const MAX_PRELUDE_BYTES: usize = 1024 * 1024;

/// LM-27: the largest body of a load balancer's request or result.
pub const MAX_ALB_BYTES: usize = 1024 * 1024;

/// LM-27: the longest request line, and the longest header, of a load balancer's request.
pub const MAX_ALB_LINE_BYTES: usize = 16 * 1024;

/// LM-27: the largest head of a load balancer's request.
pub const MAX_ALB_HEAD_BYTES: usize = 64 * 1024;

/// LM-27: the largest headers of a result behind a load balancer.
pub const MAX_ALB_ANSWER_HEAD_BYTES: usize = 32 * 1024;

/// LM-26: the largest request line and header values, together, of API Gateway.
pub const MAX_API_HEAD_BYTES: usize = 10_240;

/// LM-26: how long a REST API waits for an answer.
pub const REST_API_TIMEOUT: Duration = Duration::from_secs(29);

/// LM-26: how long an HTTP API waits for an answer.
pub const HTTP_API_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest set of CloudEvents attributes: they travel in a header of the Runtime API, and clients read lines of about
/// 100 KB.
pub const MAX_CLOUD_EVENT_ATTRIBUTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lc_03_lm_08_lm_19_lm_22_times_are_the_contracts() {
        assert_eq!(INIT_TIMEOUT.as_secs(), 10);
        let shutdowns = [INTERNAL_SHUTDOWN, SHUTDOWN_BUDGET, RUNTIME_SHUTDOWN].map(|time| time.as_millis());
        assert_eq!(shutdowns, [500, 2_000, 300]);
        assert_eq!(MAX_EVENT_AGE.as_secs(), 6 * 60 * 60);
    }
}
