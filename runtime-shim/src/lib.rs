//! PID 1 of every function: HTTP to and from the Lambda Runtime API.
