//! `tm setup` and `tm doctor`.

use std::path::PathBuf;

use clap::Args;

/// The Tasks that are installed; other names of theirs are known to tm.
pub(crate) const TASKS: [&str; 4] = ["go", "python", "node", "custom"];

const SETUP_HELP: &str = "stdout is the Role (and RoleBinding) that users of tm need in the namespace; \
`tm setup --user jane | kubectl apply -f -` gives it to jane. With --dry it is everything that would be applied.";

/// Flags of `tm setup`.
#[derive(Clone, Debug, Args)]
#[command(after_help = SETUP_HELP)]
pub(crate) struct Setup {
    /// An image parameter of the Tasks, `PARAM=IMAGE` or `TASK.PARAM=IMAGE` (python.BASE_IMAGE=…); repeatable; an empty
    /// value takes it away
    #[arg(long = "image", value_name = "[TASK.]PARAM=IMAGE")]
    pub(crate) images: Vec<String>,
    /// Use this builder image instead of making one from this program
    #[arg(long, env = "TM_BUILDER_IMAGE", value_name = "IMAGE")]
    pub(crate) builder_image: Option<String>,
    /// Copy the images languages build in and run on to the registry, through this machine and for its architecture, and use
    /// the copies; all Tasks (go, python, node, custom) or those named
    #[arg(long, value_name = "TASK", value_delimiter = ',', num_args = 0.., require_equals = true,
        default_missing_values = TASKS, value_parser = clap::builder::PossibleValuesParser::new(TASKS))]
    pub(crate) copy_images: Vec<String>,
    /// Bind the printed Role to this user; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Vec<String>,
    /// Bind the printed Role to this group; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// Bind the printed Role to this service account of the namespace; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) service_account: Vec<String>,
    /// PEM file of an authority that signed the registry's certificate; also goes into the images
    #[arg(long, env = "TM_REGISTRY_CA", value_name = "FILE")]
    pub(crate) registry_ca: Option<PathBuf>,
    /// Replace settings that somebody else made
    #[arg(long)]
    pub(crate) force: bool,
}

/// Flags of `tm doctor`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Doctor {
    /// Leave out what needs a pod: pushing to and pulling from the registry
    #[arg(long)]
    pub(crate) no_pods: bool,
    /// Longest wait for the pods
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(crate) timeout: String,
}
