//! `build-tasks` as the steps of a build run it: the real binary, the real tools, a real registry.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, a skipped one says so"
)]

mod assemble;
mod fixture;
mod languages;
mod unpack;
