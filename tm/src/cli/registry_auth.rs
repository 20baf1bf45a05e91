//! `tm set registry-auth`.

use clap::{Args, Subcommand};

/// What to set.
#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// Credentials for pushing to and pulling from a registry
    RegistryAuth(RegistryAuth),
}

/// Flags of `tm set registry-auth`. What is missing is asked for, unless `GITLAB_CI=true` or there is no terminal.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegistryAuth {
    /// Name of the Secret
    pub(crate) name: String,
    /// Registry
    #[arg(long, env = "TM_REGISTRY", value_name = "HOST[:PORT]")]
    pub(crate) registry: Option<String>,
    /// User
    #[arg(long, env = "TM_USERNAME", value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password or token; asked for unseen when not given
    #[arg(long, env = "TM_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    pub(crate) password: Option<String>,
    /// First part of image names instead of the user
    #[arg(long, env = "TM_PROJECT", value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// For pulling only
    #[arg(long)]
    pub(crate) pull: bool,
    /// For pushing only
    #[arg(long)]
    pub(crate) push: bool,
}
