//! Every environment variable that `runtime-shim` reads or gives to a runtime, each a documented constant, and the
//! table of `docs/environment.md` made from them.

/// Declares the constants and, from the same lines, [`TABLE`].
macro_rules! variables {
    ($($name:ident = $text:literal, $kind:ident, $default:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $text;)*

        /// Every variable, in the order of the documentation.
        pub const TABLE: &[Variable] = &[
            $(Variable { name: $text, kind: Kind::$kind, default: $default, meaning: $meaning },)*
        ];
    };
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The variable's name.
    pub name: &'static str,
    /// Who it is for.
    pub kind: Kind,
    /// What holds where it is not set; Markdown.
    pub default: &'static str,
    /// What it means; Markdown.
    pub meaning: &'static str,
}

/// Who a variable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read by the shim and not given to the function.
    Shim,
    /// Read by the shim, or passed through it, and given to the function; the deployment's value wins.
    Both,
    /// Given to the function by the shim; a value of the deployment's is ignored.
    Function,
    /// Never given to the function.
    Withheld,
}

variables! {
    PORT = "PORT", Shim, "`8080`", "Port of the function's HTTP listener. `0` takes a free one";
    EXTERNAL_API_PORT = "EXTERNAL_API_PORT", Shim, "-", "Old name of `PORT`";
    TM_BIND_ADDRESS = "TM_BIND_ADDRESS", Shim, "`0.0.0.0`", "Address of the function's HTTP listener";
    TM_PORT_FILE = "TM_PORT_FILE", Shim, "-", "File that gets the port of the HTTP listener, as decimal text, once it accepts connections";
    INTERNAL_API_PORT = "INTERNAL_API_PORT", Shim, "-", "One Runtime API port on 127.0.0.1 for all workers. Not set: each worker gets a listener of its own on a free port";
    INVOKER_COUNT = "INVOKER_COUNT", Shim, "`4`; `1` with external extensions", "Most bootstrap processes at a time. The first starts at once, the others on demand. Each has external extensions of its own, which often listen on fixed ports";
    TM_MAX_CONCURRENCY = "TM_MAX_CONCURRENCY", Shim, "`1`", "Most invokes that one bootstrap process takes at a time, 1 to 100. Above 1 the runtime client must support it; docs/http.md";
    REQUEST_SIZE_LIMIT = "REQUEST_SIZE_LIMIT", Shim, "6291456 bytes", "Largest request body in megabytes of 10^6; larger ones are answered 413";
    FUNCTION_TTL = "FUNCTION_TTL", Shim, "`AWS_LAMBDA_FUNCTION_TIMEOUT`", "Function timeout: a Go duration (`10s`, `1m30s`) or whole seconds, at most 24 h";
    AWS_LAMBDA_FUNCTION_TIMEOUT = "AWS_LAMBDA_FUNCTION_TIMEOUT", Both, "`300`", "Function timeout in whole seconds, 1 to 900; used where `FUNCTION_TTL` is not set";
    TM_EVENT_FORMAT = "TM_EVENT_FORMAT", Shim, "`plain`", "What the function gets of an HTTP request, and what it gives back: `plain`, `apigateway-v1` (REST API), `apigateway-v2` (HTTP API), `function-url`, `alb`, `alb-multi-value`, `cloudevents`; docs/http.md";
    RESPONSE_FORMAT = "RESPONSE_FORMAT", Both, "-", "aws-custom-runtime's name of it: `CLOUDEVENTS` is `cloudevents`, `API_GATEWAY` is `apigateway-v1` (in its place `plain`, as its last versions had lost that mode), anything else `plain`. Used where `TM_EVENT_FORMAT` is not set";
    RESPONSE_WRAPPER = "RESPONSE_WRAPPER", Both, "-", "Older name of `RESPONSE_FORMAT`";
    EVENT_TYPE = "EVENT_TYPE", Both, "-", "Oldest name of `RESPONSE_FORMAT`";
    CE_FUNCTION_RESPONSE_MODE = "CE_FUNCTION_RESPONSE_MODE", Both, "`data`", "What a result is with `cloudevents`: the `data` of a reply, or with `event` the event itself";
    FUNCTION_RESPONSE_MODE = "FUNCTION_RESPONSE_MODE", Both, "-", "Older name of `CE_FUNCTION_RESPONSE_MODE`";
    CE_OVERRIDES_TYPE = "CE_OVERRIDES_TYPE", Both, "`ce.klr.triggermesh.io`", "Type of replies. Set but empty: nothing is replied";
    CE_OVERRIDES_SOURCE = "CE_OVERRIDES_SOURCE", Both, "`knative-lambda-runtime`", "Source of replies";
    CE_OVERRIDES_SUBJECT = "CE_OVERRIDES_SUBJECT", Both, "-", "Subject of replies";
    CE_TYPE = "CE_TYPE", Both, "-", "Older name of `CE_OVERRIDES_TYPE`";
    CE_SOURCE = "CE_SOURCE", Both, "-", "Older name of `CE_OVERRIDES_SOURCE`";
    CE_SUBJECT = "CE_SUBJECT", Both, "-", "Older name of `CE_OVERRIDES_SUBJECT`";
    TYPE = "TYPE", Both, "-", "In the place of aws-custom-runtime: oldest name of `CE_OVERRIDES_TYPE`";
    SOURCE = "SOURCE", Both, "-", "In the place of aws-custom-runtime: oldest name of `CE_OVERRIDES_SOURCE`";
    SUBJECT = "SUBJECT", Both, "-", "In the place of aws-custom-runtime: oldest name of `CE_OVERRIDES_SUBJECT`";
    K_SINK = "K_SINK", Both, "-", "With `plain` and `cloudevents`: results are posted to this `http://` URL, and the caller gets an empty answer";
    TM_API_STAGE = "TM_API_STAGE", Shim, "`$default`", "Stage of API Gateway events. Any other than `$default` becomes part of their paths, as on AWS";
    TM_API_TIMEOUT = "TM_API_TIMEOUT", Shim, "`29s` with `apigateway-v1`, `30s` with `apigateway-v2`", "How long these two wait for an answer, as AWS's do. Then the caller gets 504 (503 from an HTTP API), and the function goes on";
    TM_BINARY_MEDIA_TYPES = "TM_BINARY_MEDIA_TYPES", Shim, "-", "Types of request bodies that `apigateway-v1` passes as base64, separated by commas: `image/*`, `*/*`";
    TM_TRUSTED_PROXIES = "TM_TRUSTED_PROXIES", Shim, "`1`", "Proxies in front that add to `X-Forwarded-For`: the caller's address is the entry that the outermost of them wrote. `0` takes the connection's";
    TM_CORS_ALLOW_ORIGINS = "TM_CORS_ALLOW_ORIGINS", Shim, "-", "With `function-url`: pages of others that may call, `https://example.com` separated by commas, or `*`. Not set: the function answers browsers itself, and the following settings mean nothing";
    TM_CORS_ALLOW_METHODS = "TM_CORS_ALLOW_METHODS", Shim, "`*`", "Methods that they may use";
    TM_CORS_ALLOW_HEADERS = "TM_CORS_ALLOW_HEADERS", Shim, "-", "Headers that they may send, or `*`";
    TM_CORS_EXPOSE_HEADERS = "TM_CORS_EXPOSE_HEADERS", Shim, "-", "Headers of answers that they may read";
    TM_CORS_MAX_AGE = "TM_CORS_MAX_AGE", Shim, "-", "Seconds that browsers may remember it, at most 86400";
    TM_CORS_ALLOW_CREDENTIALS = "TM_CORS_ALLOW_CREDENTIALS", Shim, "`false`", "Whether they may send cookies";
    TM_INVOKE_MODE = "TM_INVOKE_MODE", Shim, "`BUFFERED`", "Answers of HTTP callers: `BUFFERED` sends them whole, `RESPONSE_STREAM` passes on what a streaming runtime sends while it sends it. The Invoke API has a call for each";
    TM_INVOKE_API = "TM_INVOKE_API", Shim, "`on`", "The Lambda Invoke API on the HTTP port: `on` answers for the function's own name, ARN and `function`, `any-name` whatever the name, `off` gives its paths to the function";
    TM_COMPAT = "TM_COMPAT", Shim, "by the program's name", "Whose place the shim takes, with the defaults below: `aws-lambda-rie`, `aws-custom-runtime` or `none`";
    TM_STRICT = "TM_STRICT", Shim, "`false`", "`true` follows AWS also where it hides something: docs/lambda-compatibility.md lists where";
    TM_QUEUE_LENGTH = "TM_QUEUE_LENGTH", Shim, "`100`", "Most requests and asynchronous events that wait for a worker; more are answered 429";
    TM_INIT_TIMEOUT = "TM_INIT_TIMEOUT", Shim, "`10s`", "Longest time from a runtime's start to its first `next`";
    TM_DRAIN_TIMEOUT = "TM_DRAIN_TIMEOUT", Shim, "the function timeout", "Longest wait for running requests after SIGTERM or SIGINT";
    TM_EXTENSIONS_DIR = "TM_EXTENSIONS_DIR", Shim, "`/opt/extensions`", "Folder of external extensions: each file in it is started ahead of every bootstrap process";
    TM_LOG = "TM_LOG", Shim, "`warn`", "How much the shim says on stderr about itself: `off`, `error`, `warn`, `info`, `debug` or `trace`";
    METRICS_PROMETHEUS_PORT = "METRICS_PROMETHEUS_PORT", Shim, "-", "Port of `GET /metrics` in Prometheus's form, on the address of the function's listener. Not set: no metrics";
    TM_SYSTEM_LOG_LEVEL = "TM_SYSTEM_LOG_LEVEL", Shim, "`INFO`", "With `AWS_LAMBDA_LOG_FORMAT=JSON`: which of the shim's own lines are written, `DEBUG`, `INFO` or `WARN`";
    NAME = "NAME", Both, "-", "Without effect: a label of aws-custom-runtime's metrics";
    NAMESPACE = "NAMESPACE", Both, "-", "Without effect: a label of aws-custom-runtime's metrics";
    RESOURCE_GROUP = "RESOURCE_GROUP", Both, "-", "Without effect: a label of aws-custom-runtime's metrics";
    K_COMPONENT = "K_COMPONENT", Both, "-", "Without effect: the prefix of aws-custom-runtime's metrics";
    K_LOGGING_CONFIG = "K_LOGGING_CONFIG", Both, "-", "Without effect: aws-custom-runtime's own log";
    K_SERVICE = "K_SERVICE", Both, "-", "Set by Knative; the function's name where `AWS_LAMBDA_FUNCTION_NAME` is not set";
    K_REVISION = "K_REVISION", Both, "-", "Set by Knative; the function's version where `AWS_LAMBDA_FUNCTION_VERSION` is not set";
    AWS_ACCOUNT_ID = "AWS_ACCOUNT_ID", Both, "`123456789012`", "Account in the function's ARN";
    HANDLER = "_HANDLER", Both, "the last of two or more command arguments, else empty", "The handler, as the runtime understands it";
    AWS_LAMBDA_FUNCTION_HANDLER = "AWS_LAMBDA_FUNCTION_HANDLER", Both, "-", "aws-lambda-rie's name of `_HANDLER`, used where that is not set";
    LOG_LEVEL = "LOG_LEVEL", Both, "-", "In the place of aws-lambda-rie: `TM_LOG`, where that is not set and this is a level";
    LAMBDA_TASK_ROOT = "LAMBDA_TASK_ROOT", Both, "`/var/task`", "Where the function's code is; the runtime's working directory";
    LAMBDA_RUNTIME_DIR = "LAMBDA_RUNTIME_DIR", Both, "`/var/runtime`", "Where the runtime client is";
    AWS_LAMBDA_FUNCTION_NAME = "AWS_LAMBDA_FUNCTION_NAME", Both, "`K_SERVICE`, else `function`", "The function's name";
    AWS_LAMBDA_FUNCTION_VERSION = "AWS_LAMBDA_FUNCTION_VERSION", Both, "`K_REVISION`, else `$LATEST`", "The function's version";
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Both, "`128`", "The function's memory in MB, as its context and the `REPORT` line say it";
    AWS_LAMBDA_LOG_GROUP_NAME = "AWS_LAMBDA_LOG_GROUP_NAME", Both, "`/aws/lambda/NAME`", "Log group of the function's context";
    AWS_LAMBDA_LOG_STREAM_NAME = "AWS_LAMBDA_LOG_STREAM_NAME", Both, "`YYYY/MM/DD/[VERSION]` and 32 hex digits", "Log stream of the function's context";
    AWS_LAMBDA_LOG_FORMAT = "AWS_LAMBDA_LOG_FORMAT", Both, "-", "Log format: `Text` or `JSON`, for the runtime client and for the shim's own lines";
    AWS_LAMBDA_LOG_LEVEL = "AWS_LAMBDA_LOG_LEVEL", Both, "-", "Log level, for the runtime client. With `AWS_LAMBDA_LOG_FORMAT=JSON` the function's lines below it (`INFO` where it is not set) are not written; the shim's own have `TM_SYSTEM_LOG_LEVEL`";
    AWS_REGION = "AWS_REGION", Both, "`AWS_DEFAULT_REGION`, else `us-east-1`", "Region of the function's ARN and of SDKs inside the function";
    AWS_DEFAULT_REGION = "AWS_DEFAULT_REGION", Both, "`AWS_REGION`", "Region of SDKs inside the function";
    AWS_EXECUTION_ENV = "AWS_EXECUTION_ENV", Both, "-", "Passed through; never invented";
    AWS_XRAY_CONTEXT_MISSING = "AWS_XRAY_CONTEXT_MISSING", Both, "`LOG_ERROR`", "What X-Ray SDKs do without a trace";
    AWS_XRAY_DAEMON_ADDRESS = "AWS_XRAY_DAEMON_ADDRESS", Both, "-", "Passed through, but not to external extensions";
    LANG = "LANG", Both, "`en_US.UTF-8`", "Locale of the function";
    TZ = "TZ", Both, "`:UTC`", "Time zone of the function";
    PATH = "PATH", Both, "`/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin`", "The deployment's value, with `/opt/bin` added at its end where it is missing";
    LD_LIBRARY_PATH = "LD_LIBRARY_PATH", Both, "`/var/lang/lib:/lib64:/usr/lib64:RUNTIME:RUNTIME/lib:TASK:TASK/lib:/opt/lib`", "The deployment's value as it is, else Lambda's, with `LAMBDA_RUNTIME_DIR` and `LAMBDA_TASK_ROOT` in it. In the place of aws-custom-runtime: Lambda's without `/var/lang/lib`, then the deployment's";
    AWS_LAMBDA_RUNTIME_API = "AWS_LAMBDA_RUNTIME_API", Function, "-", "`host:port` of the Runtime API";
    AWS_LAMBDA_INITIALIZATION_TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE", Function, "`on-demand`", "`lambda-managed-instances` where `TM_MAX_CONCURRENCY` is above 1";
    BOOTSTRAP_INDEX = "BOOTSTRAP_INDEX", Function, "-", "Number of the worker, from 0";
    AWS_LAMBDA_MAX_CONCURRENCY = "AWS_LAMBDA_MAX_CONCURRENCY", Function, "-", "`TM_MAX_CONCURRENCY` where that is above 1, else not set: its mere presence makes runtime clients start several loops";
    X_AMZN_TRACE_ID = "_X_AMZN_TRACE_ID", Withheld, "-", "The runtime client sets it for each invoke";
    LAMBDA_TELEMETRY_LOG_FD = "_LAMBDA_TELEMETRY_LOG_FD", Withheld, "-", "Framed logs are not supported; without it runtime clients write plain lines";
}

/// EN-16: whether a variable of the runtime's reaches external extensions, too.
pub fn reaches_extensions(name: &str) -> bool {
    const KEPT_BACK: [&str; 7] = [
        AWS_EXECUTION_ENV,
        AWS_LAMBDA_LOG_GROUP_NAME,
        AWS_LAMBDA_LOG_STREAM_NAME,
        AWS_XRAY_CONTEXT_MISSING,
        AWS_XRAY_DAEMON_ADDRESS,
        LAMBDA_RUNTIME_DIR,
        LAMBDA_TASK_ROOT,
    ];
    !name.starts_with('_') && !KEPT_BACK.contains(&name)
}

/// The table as `docs/environment.md` has it.
pub fn markdown() -> String {
    let mut text = String::from("| Variable | For | Default | Meaning |\n|---|---|---|---|\n");
    for Variable { name, kind, default, meaning } in TABLE {
        let kind = match kind {
            Kind::Shim => "shim",
            Kind::Both => "shim, function",
            Kind::Function => "function",
            Kind::Withheld => "withheld",
        };
        text.push_str(&format!("| `{name}` | {kind} | {default} | {meaning} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = TABLE.iter().map(|v| v.name).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    /// `TM_TEST_UPDATE=1` rewrites the table instead of complaining.
    #[test]
    fn the_documentation_is_this_table() {
        tm_testkit::documentation::assert_part("environment.md", "runtime-shim", &markdown());
    }
}
