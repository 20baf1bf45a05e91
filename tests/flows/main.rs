//! Source to URL to reply, as a user does it: the real `tm`, its engine, real toolchains, HTTP.

mod both;
mod clients;
mod events;
mod faults;
mod hardening;
mod interrupt;
mod isolation;
mod lifecycle;
mod registry;
mod scheduled;
mod setup;
mod steps;
mod support;
mod traffic;

use tm_testkit::machine::Machine;

/// A machine with the `tm` under test.
fn machine() -> Machine {
    Machine::new(env!("CARGO_BIN_EXE_tm"))
}

/// The target of the flows in [`both`]: an engine of its own.
async fn target() -> Machine {
    let machine = machine();
    machine.tm_ok(["local", "start"]).await.expect("the engine starts");
    machine
}
