//! How the cluster is: components, node, workloads, memory, versions; and how to use it.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use crate::{
    apply, cgroups, control_plane, daemons, dns, images, kubeconfig, node, registries, say,
    settings::{FUNCTIONS_DOMAIN, REGISTRY_USER, Settings},
};

/// Says how everything is; true when all is well.
pub(crate) async fn status(settings: &Settings) -> Result<bool> {
    let mut well = true;
    let mut line = |good: bool, text: String| {
        well &= good;
        say::data(&format!("{} {text}", if good { "up  " } else { "DOWN" }));
    };
    for name in components() {
        line(daemons::is_running(settings, name), name.to_owned());
    }
    match images::missing(settings).await {
        Ok(missing) if missing.is_empty() => line(true, "all images of components".into()),
        Ok(missing) => {
            line(false, format!("images {} (`tests/cluster/up` imports them)", missing.join(", ")))
        }
        Err(error) => line(false, format!("images: {error:#}")),
    }
    match api(settings).await {
        Ok(lines) => lines.into_iter().for_each(|(good, text)| line(good, text)),
        Err(error) => line(false, format!("API: {error:#}")),
    }
    let memory = resident(settings)?;
    say::data(&format!("{} MB resident in {} processes", memory.0 / 1024, memory.1));
    Ok(well)
}

/// All components' names.
pub(crate) fn components() -> impl Iterator<Item = &'static str> {
    let lists = [control_plane::NAMES, node::NAMES, dns::NAMES, registries::NAMES];
    lists.into_iter().flatten().copied().chain([node::RUNTIME])
}

async fn api(settings: &Settings) -> Result<Vec<(bool, String)>> {
    let client = kubeconfig::client(settings).await?;
    let version = client.apiserver_version().await?;
    let mut lines = vec![(true, format!("API {} {}", version.git_version, settings.api()))];
    lines.extend(nodes(&client).await?);
    let unavailable = apply::unavailable(&client).await?;
    lines.push(match unavailable.as_slice() {
        [] => (true, "all Deployments available".into()),
        some => (false, format!("Deployments {}", some.join(", "))),
    });
    Ok(lines)
}

async fn nodes(client: &Client) -> Result<Vec<(bool, String)>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    Ok(nodes.iter().map(|node| (ready(node), format!("node {}", node.name_any()))).collect())
}

/// Resident memory in KiB and number of the cluster's processes.
fn resident(settings: &Settings) -> Result<(u64, usize)> {
    let processes = cgroups::processes(settings)?;
    let of = |pid: &i32| {
        let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Ok((processes.iter().filter_map(of).sum(), processes.len()))
}

/// Lines for people.
pub(crate) fn how_to_use(settings: &Settings) -> String {
    format!(
        "kubeconfig  {kubeconfig}\n\
         context     {context}\n\
         ingress     {address} (Host: NAME.NAMESPACE.{FUNCTIONS_DOMAIN})\n\
         registry    {open}\n\
         registry    {closed} (user {REGISTRY_USER}, password in {password})\n\
         shell       eval \"$(tests/cluster/env)\"",
        kubeconfig = settings.kubeconfig().display(),
        context = settings.name(),
        address = settings.address(),
        open = settings.open_registry(),
        closed = settings.closed_registry(),
        password = settings.password_file().display(),
    )
}

/// Variables for a shell and for the tests. Folders have plain characters only ([`Settings::new`]).
pub(crate) fn environment(settings: &Settings) -> Vec<(&'static str, String)> {
    vec![
        ("KUBECONFIG", settings.kubeconfig().display().to_string()),
        ("TM_TEST_CONTEXT", settings.name()),
        ("KNATIVE_INGRESS", settings.address()),
        ("TM_TEST_REGISTRY", settings.open_registry()),
        ("TM_TEST_PRIVATE_REGISTRY", settings.closed_registry()),
        ("TM_TEST_PRIVATE_REGISTRY_USER", REGISTRY_USER.into()),
        ("TM_TEST_PRIVATE_REGISTRY_PASSWORD_FILE", settings.password_file().display().to_string()),
    ]
}
