//! A real single-node Kubernetes with Knative and Tekton, for tests: `up`, `down`, `status` and what goes with them.
//!
//! Everything is in one network namespace, one cgroup and one state folder. `tests/cluster/README.md` says how to use it.

mod apply;
mod cgroups;
mod command;
mod control_plane;
mod daemons;
mod dns;
mod down;
mod images;
mod kubeconfig;
mod languages;
mod lock;
mod logs;
mod manifests;
mod network;
mod node;
mod packages;
mod pki;
mod programs;
mod publish;
mod registries;
mod say;
mod settings;
mod status;
mod up;

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use settings::Settings;

#[derive(Parser)]
#[command(name = "tm-cluster", about = "A real Kubernetes with Knative and Tekton, for tests")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Bring the cluster up; running it again is fine
    Up {
        /// Leave the language images out
        #[arg(long)]
        no_images: bool,
    },
    /// Make the language images and name them for the Tasks
    Images,
    /// Take the cluster down and prove that nothing is left
    Down,
    /// Say how the cluster is; fails unless all is well
    Status,
    /// Print the path of the kubeconfig
    Kubeconfig,
    /// Print variables for a shell
    Env,
    /// Run the kubectl that belongs to the cluster
    #[command(disable_help_flag = true)]
    Kubectl {
        /// What kubectl gets
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Copy logs and objects to a folder and show what looks wrong
    Logs {
        /// The folder
        to: PathBuf,
    },
    /// Build the programs and print the folder of kubectl
    Programs,
    /// Follow the Services and keep dnsmasq's hosts file
    #[command(hide = true)]
    Dns,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(act(arguments.action)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn act(action: Action) -> Result<ExitCode> {
    let settings = Settings::from_environment()?;
    match action {
        Action::Up { no_images } => up::up(&settings, !no_images).await?,
        Action::Images => {
            is_up(&settings)?;
            let client = kubeconfig::client(&settings).await?;
            say::Stages::new().run("language images", languages::provide(&settings, &client)).await?;
            languages::say_params();
        }
        Action::Down => down::down(&settings).await?,
        Action::Status => {
            is_up(&settings)?;
            return Ok(if status::status(&settings).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Action::Kubeconfig => {
            is_up(&settings)?;
            say::data(&settings.kubeconfig().display().to_string());
        }
        Action::Env => {
            is_up(&settings)?;
            for (name, value) in status::environment(&settings) {
                say::data(&format!("export {name}={value}"));
            }
        }
        Action::Kubectl { args } => {
            is_up(&settings)?;
            let kubectl = programs::Programs::build(&settings).await?.kubernetes("kubectl");
            return Err(Command::new(kubectl)
                .args(args)
                .env("KUBECONFIG", settings.kubeconfig())
                .exec()
                .into());
        }
        Action::Logs { to } => logs::keep(&settings, &callers_folder().join(to)).await?,
        Action::Programs => {
            let kubectl = programs::Programs::build(&settings).await?.kubernetes("kubectl");
            say::data(&kubectl.with_file_name("").display().to_string());
        }
        Action::Dns => dns::follow(&settings).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the caller of a script is: the script itself goes elsewhere.
fn callers_folder() -> PathBuf {
    std::env::var_os("TM_CLUSTER_FROM").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn is_up(settings: &Settings) -> Result<()> {
    ensure!(settings.kubeconfig().exists(), "no cluster is up\nhint: tests/cluster/up");
    Ok(())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say::note(&format!("error: {error:#}"));
    ExitCode::FAILURE
}
