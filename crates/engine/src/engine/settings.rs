//! How the engine is started: flags, each with its variable.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Settings of `tm engine`. `tm local start` passes them on.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tm engine",
    version,
    about = "Runs the embedded engine in the foreground; `tm local start` runs it in the background"
)]
pub struct Settings {
    /// Where functions answer.
    #[arg(long, env = "TM_HTTP_LISTEN", default_value = "127.0.0.1:3000")]
    pub http_listen: SocketAddr,
    /// Where the registry answers.
    #[arg(long, env = "TM_REGISTRY_LISTEN", default_value = "127.0.0.1:3002")]
    pub registry_listen: SocketAddr,
    /// Where the Kubernetes API answers kubectl (TLS, with a token).
    #[arg(long, env = "TM_API_LISTEN", default_value = "127.0.0.1:3003")]
    pub api_listen: SocketAddr,
    /// Domain of functions' addresses.
    #[arg(long, env = "TM_DOMAIN", default_value = "localhost")]
    pub domain: String,
    /// How functions are kept apart: namespaces where the machine allows them, required, or not at all.
    #[arg(long, env = "TM_ISOLATION", value_enum, default_value_t)]
    pub isolation: IsolationKind,
    /// How containers run.
    #[arg(long, env = "TM_RUNNER", value_enum, default_value_t)]
    pub runner: RunnerKind,
    /// With the Docker runner: image that functions are built with and run on; without it each language has its own.
    #[arg(long, env = "TM_DOCKER_BASE_IMAGE", value_name = "IMAGE")]
    pub docker_base_image: Option<String>,
}

/// What keeps a container apart from the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum IsolationKind {
    /// Namespaces where the machine allows them.
    #[default]
    Auto,
    /// Namespaces, or the engine does not start.
    Namespaces,
    /// Ordinary processes with the paths of a container translated.
    None,
}

/// How containers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RunnerKind {
    /// As processes of this machine
    #[default]
    Process,
    /// In the Docker engine of this machine
    Docker,
}

// === impl RunnerKind ===

impl RunnerKind {
    /// The variable that chooses one.
    pub const ENV: &str = "TM_RUNNER";

    /// As the flag spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
        }
    }
}
