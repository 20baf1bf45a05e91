//! Header names of the Runtime API and of the Invoke API.
//!
//! [`http::HeaderName`] is lower-case; the Runtime API listener writes names in Title-Case (RT-04).

use http::HeaderName;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: HeaderName = HeaderName::from_static($text);)*
    };
}

names! {
    /// RT-16: the invoke id handed to the runtime.
    RUNTIME_REQUEST_ID = "lambda-runtime-aws-request-id";
    /// RT-17: the deadline in Unix milliseconds.
    RUNTIME_DEADLINE_MS = "lambda-runtime-deadline-ms";
    /// RT-18: the ARN as invoked.
    RUNTIME_INVOKED_FUNCTION_ARN = "lambda-runtime-invoked-function-arn";
    /// RT-19: the X-Ray trace header for the runtime.
    RUNTIME_TRACE_ID = "lambda-runtime-trace-id";
    /// RT-20: client context as JSON.
    RUNTIME_CLIENT_CONTEXT = "lambda-runtime-client-context";
    /// RT-21: Cognito identity as JSON.
    RUNTIME_COGNITO_IDENTITY = "lambda-runtime-cognito-identity";
    /// RT-22: the tenant of the invoke.
    RUNTIME_TENANT_ID = "lambda-runtime-aws-tenant-id";
    /// RT-27: how the runtime produces its result; the only legal value is `streaming`.
    RUNTIME_RESPONSE_MODE = "lambda-runtime-function-response-mode";
    /// What went wrong, on `/error` and `/init/error` and as a trailer of `/response`.
    RUNTIME_ERROR_TYPE = "lambda-runtime-function-error-type";
    /// Base64 of the error JSON, as a trailer of `/response`.
    RUNTIME_ERROR_BODY = "lambda-runtime-function-error-body";
    /// X-Ray's view of an error.
    RUNTIME_XRAY_ERROR_CAUSE = "lambda-runtime-function-xray-error-cause";
    /// The invoke id, as the caller sees it.
    AMZN_REQUEST_ID = "x-amzn-requestid";
    /// The trace header of callers and answers.
    AMZN_TRACE_ID = "x-amzn-trace-id";
    /// The trace header of the W3C.
    TRACEPARENT = "traceparent";
    /// What goes with it.
    TRACESTATE = "tracestate";
    /// The name of an API error.
    AMZN_ERROR_TYPE = "x-amzn-errortype";
    /// `Unhandled` when the function failed.
    AMZ_FUNCTION_ERROR = "x-amz-function-error";
    /// IN-03: how the function is to run.
    AMZ_INVOCATION_TYPE = "x-amz-invocation-type";
    /// IN-04: whether the answer carries the log's end.
    AMZ_LOG_TYPE = "x-amz-log-type";
    /// IN-13: the log's end, in base64.
    AMZ_LOG_RESULT = "x-amz-log-result";
    /// IN-05: base64 of JSON for the function's context.
    AMZ_CLIENT_CONTEXT = "x-amz-client-context";
    /// IN-06: the tenant of the invoke.
    AMZ_TENANT_ID = "x-amz-tenant-id";
    /// IN-11: the version that ran.
    AMZ_EXECUTED_VERSION = "x-amz-executed-version";
    /// IN-11: AWS's gateway says so on every buffered answer.
    AMZN_REMAPPED_CONTENT_LENGTH = "x-amzn-remapped-content-length";
    /// IN-25: the runtime's own content type.
    AMZN_REMAPPED_CONTENT_TYPE = "x-amzn-remapped-content-type";
    /// CE-11: the attributes of a CloudEvent as JSON; older runtimes read it.
    RUNTIME_CLOUDEVENTS_CONTEXT = "lambda-runtime-cloudevents-context";
    /// EX-02: the name an extension registers.
    EXTENSION_NAME = "lambda-extension-name";
    /// EX-04: what a registered extension is known by.
    EXTENSION_IDENTIFIER = "lambda-extension-identifier";
    /// What an extension's answers may contain.
    EXTENSION_ACCEPT_FEATURE = "lambda-extension-accept-feature";
    /// The id of one event for one extension.
    EXTENSION_EVENT_IDENTIFIER = "lambda-extension-event-identifier";
    /// EX-09: why an extension gives up.
    EXTENSION_ERROR_TYPE = "lambda-extension-function-error-type";
    /// EX-13: something that differs from batch to batch.
    SEQUENCE_ID = "sequence-id";
    /// Knative's own probes carry it.
    K_NETWORK_PROBE = "k-network-probe";
}

/// The only legal value of [`RUNTIME_RESPONSE_MODE`].
pub const STREAMING: &str = "streaming";
/// The only value of [`AMZ_FUNCTION_ERROR`] that AWS was ever seen to send.
pub const UNHANDLED: &str = "Unhandled";
/// RT-23: exactly this, without a charset.
pub const JSON: &str = "application/json";
/// An error with a cause for X-Ray in it.
pub const ERROR_WITH_CAUSE: &str = "application/vnd.aws.lambda.error.cause+json";
/// Results that are text but not JSON.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Results of unknown form.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// A stream that begins with a prelude of status and headers (2.3).
pub const HTTP_INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";
/// IN-25: what `InvokeWithResponseStream` answers.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
