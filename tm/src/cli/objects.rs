//! `tm get`, `tm delete`, `tm logs`.

use clap::{Args, ValueEnum};

/// Kinds of objects tm knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    #[value(aliases = ["services", "svc", "ksvc"])]
    Service,
    #[value(aliases = ["configurations", "config"])]
    Configuration,
    #[value(aliases = ["revisions", "rev"])]
    Revision,
    #[value(aliases = ["routes", "rt"])]
    Route,
    #[value(alias = "tasks")]
    Task,
    #[value(aliases = ["taskruns", "tr"])]
    Taskrun,
}

/// `tm get KIND [NAME]`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Objects {
    /// Kind of object
    pub(crate) kind: Kind,
    /// Name; all when not given
    pub(crate) name: Option<String>,
    /// Objects of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(crate) all_namespaces: bool,
}

/// `tm delete KIND NAME`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Delete {
    /// Kind of object
    pub(crate) kind: Kind,
    /// Names
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// `tm logs NAME`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Logs {
    /// Name of the service
    pub(crate) name: String,
    /// Go on until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what is newer than this
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,
    /// Only the last lines of each instance; -1 is all
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) tail: Option<i64>,
}
