//! `tm local …`.

use clap::{Args, Subcommand};
use tm_engine::engine::RunnerKind;

/// The engine of this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Local {
    /// Start the engine
    #[command(visible_aliases = ["start-api", "start-lambda"])]
    Start(LocalStart),
    /// Stop the engine and every function
    Stop,
    /// Say whether it runs, and where it answers
    Status,
    /// Print the engine's own log
    Logs(LocalLogs),
}

/// Flags of `tm local start`; each is passed on to the engine.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LocalStart {
    /// Where functions answer [default: 127.0.0.1:3000]
    #[arg(long, env = "TM_HTTP_LISTEN", value_name = "ADDRESS")]
    pub(crate) http_listen: Option<String>,
    /// Where the registry answers [default: 127.0.0.1:3002]
    #[arg(long, env = "TM_REGISTRY_LISTEN", value_name = "ADDRESS")]
    pub(crate) registry_listen: Option<String>,
    /// Where the Kubernetes API answers kubectl [default: 127.0.0.1:3003]
    #[arg(long, env = "TM_API_LISTEN", value_name = "ADDRESS")]
    pub(crate) api_listen: Option<String>,
    /// Domain of functions' addresses [default: localhost]
    #[arg(long, env = "TM_DOMAIN", value_name = "NAME")]
    pub(crate) domain: Option<String>,
    /// How functions are kept apart: auto, namespaces or none [default: auto]
    #[arg(long, env = "TM_ISOLATION", value_name = "ISOLATION")]
    pub(crate) isolation: Option<String>,
    /// How containers run: process or docker [default: process]
    #[arg(long, env = RunnerKind::ENV, value_enum, value_name = "RUNNER", hide_possible_values = true)]
    pub(crate) runner: Option<RunnerKind>,
    /// Image that functions are built with and run on in Docker [default: one for each language]
    #[arg(long, env = "TM_DOCKER_BASE_IMAGE", value_name = "IMAGE")]
    pub(crate) docker_base_image: Option<String>,
}

/// Flags of `tm local logs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LocalLogs {
    /// Go on until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
}
