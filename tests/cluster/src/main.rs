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

use std::process::ExitCode;

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
        Action::Dns => dns::follow(&settings).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_up(settings: &Settings) -> Result<()> {
    ensure!(settings.kubeconfig().exists(), "no cluster is up\nhint: tests/cluster/up");
    Ok(())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say::note(&format!("error: {error:#}"));
    ExitCode::FAILURE
}
