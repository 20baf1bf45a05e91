//! The flows on a real cluster: what holds on every target, and what only a cluster has.
//!
//! Not part of `cargo test --workspace`, which needs no cluster. `KUBECONFIG`, `TM_TEST_CONTEXT` and `KNATIVE_INGRESS` name one
//! that `tm setup` has prepared: `eval "$(tests/cluster/env)" && cargo test -p tm --test cluster`.

mod both;
mod only_cluster;
mod support;

use tm_testkit::machine::Machine;

/// The target of the flows in [`both`]: a namespace of the cluster.
async fn target() -> Machine {
    Machine::on_cluster(env!("CARGO_BIN_EXE_tm")).await.expect("the cluster can be used")
}
