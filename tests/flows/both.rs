//! What holds on every target: the same tests on the engine (target `flows`) and on a cluster (target `cluster`).

mod bad_input;
mod deploy;
mod examples;
mod lifecycle;
mod outage;
mod statuses;
