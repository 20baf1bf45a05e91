//! The real binary from outside: small runtimes in Python are its functions, raw HTTP its callers.
//!
//! Tests take free ports and temporary folders, run side by side, and wait for conditions.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod bash_curl;
mod cloud_events;
mod concurrency;
mod contract;
mod drop_in;
mod extensions;
mod external;
mod failures;
mod harness;
mod hostile;
mod hostile_runtime;
mod http;
mod http_events;
mod invoke_api;
mod lifecycle;
mod limits;
mod logs;
mod metrics;
mod official_adapter;
mod official_boto3;
mod official_cloudevents;
mod official_go;
mod official_java;
mod official_javascript;
mod official_node;
mod official_python;
mod official_rust;
mod official_web;
mod plain;
mod protocol;
mod queue;
mod shared_port;
mod streaming;
mod telemetry;
mod tools;
mod usage;
