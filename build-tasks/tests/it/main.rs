//! `build-tasks` as the steps of a build run it: the real binary, the real tools, a real registry.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod assemble;
mod fixture;
mod languages;
mod unpack;
