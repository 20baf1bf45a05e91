//! `tm completion SHELL`: the script on stdout.

use anyhow::{Context, Result};
use clap_complete::Shell;

use super::Session;

pub(super) fn run(shell: Shell, session: &Session) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::cli::command(), "tm", &mut script);
    session.printer.raw(&script).map(drop).context("failed to write the script")
}
