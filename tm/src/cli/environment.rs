//! What variables say in the place of flags.

use clap::builder::Resettable;

/// Takes the variables that are set but empty away from the flags they stand for, as if they were not set.
pub(super) fn without_empty(command: clap::Command) -> clap::Command {
    let empty =
        |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if empty(&arg) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty)
}
