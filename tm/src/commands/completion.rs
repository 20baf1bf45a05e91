//! `tm completion SHELL`: the script on stdout.

use anyhow::Result;
use clap_complete::Shell;

use super::Session;

pub(super) fn run(shell: Shell, session: &Session) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::cli::command(), "tm", &mut script);
    Ok(session.printer.raw(&script)?)
}
