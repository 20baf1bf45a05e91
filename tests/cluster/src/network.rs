//! The cluster's network: one namespace with a bridge that carries the node's address, a cable to this machine, and a
//! way out for pods.
//!
//! ```text
//! this machine                         namespace
//! tmcN 10.99.N.254 ────────────── up0 ── host0 10.99.N.1 (API, registries, DNS)
//!   │ route to pods and Services          └─ cni0 (pods)
//!   └ nft table: masquerade what leaves through another link
//! ```
//!
//! Rules of this machine's firewall stay as they are: what is added has the cluster's name and goes with it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::Value;

use crate::{command::Program, settings::Settings};

/// The cable's end inside.
const INSIDE_LINK: &str = "up0";
/// The bridge with the node's address.
const HOST_BRIDGE: &str = "host0";
/// What a link takes when this machine has no way out to take it from.
const USUAL_MTU: u64 = 1500;

/// Makes namespace, links, addresses, routes and the way out; what is there stays.
pub(crate) async fn make(settings: &Settings) -> Result<()> {
    let complete = settings.state.join("network-complete");
    if settings.namespace().exists() {
        if complete.exists() {
            return Ok(());
        }
        // An `up` that was interrupted here.
        remove(settings).await?;
    }
    refuse_clash(settings).await?;
    let mtu = mtu().await?;
    ip(&["netns", "add", &settings.name()]).await?;
    cable(settings, mtu).await?;
    inside(settings, mtu).await?;
    for network in [settings.pod_network(), settings.service_network()] {
        ip(&["route", "add", &network, "via", &settings.address()]).await?;
    }
    way_out(settings).await?;
    Ok(fs::write(complete, "")?)
}

/// The MTU of the way out: packets of pods must fit through it.
pub(crate) async fn mtu() -> Result<u64> {
    let routes = ip_json(&["route", "show", "default"]).await?;
    let Some(link) = routes[0]["dev"].as_str() else { return Ok(USUAL_MTU) };
    let links = ip_json(&["link", "show", "dev", link]).await?;
    Ok(links[0]["mtu"].as_u64().unwrap_or(USUAL_MTU))
}

async fn cable(settings: &Settings, mtu: u64) -> Result<()> {
    let (outside, name, mtu) = (settings.outside_link(), settings.name(), mtu.to_string());
    let cable =
        ["link", "add", &outside, "mtu", &mtu, "type", "veth", "peer", "name", INSIDE_LINK, "mtu", &mtu];
    ip(&[&cable[..], &["netns", &name]].concat()).await?;
    ip(&["addr", "add", &format!("{}/24", settings.outside_address()), "dev", &outside]).await?;
    ip(&["link", "set", &outside, "up"]).await
}

async fn inside(settings: &Settings, mtu: u64) -> Result<()> {
    let (namespace, mtu) = (settings.namespace(), mtu.to_string());
    let address = format!("{}/24", settings.address());
    let steps: &[&[&str]] = &[
        &["ip", "link", "set", "lo", "up"],
        &["ip", "link", "add", HOST_BRIDGE, "mtu", &mtu, "type", "bridge"],
        &["ip", "link", "set", INSIDE_LINK, "master", HOST_BRIDGE],
        &["ip", "link", "set", INSIDE_LINK, "up"],
        &["ip", "addr", "add", &address, "dev", HOST_BRIDGE],
        &["ip", "link", "set", HOST_BRIDGE, "up"],
        &["ip", "route", "add", "default", "via", &settings.outside_address()],
        &["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"],
        &["sysctl", "-q", "-w", "net.bridge.bridge-nf-call-iptables=1"],
    ];
    for step in steps {
        Program::inside(&namespace, step[0]).args(&step[1..]).run().await?;
    }
    Ok(())
}

async fn way_out(settings: &Settings) -> Result<()> {
    let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
    if forwarding.trim() != "1" {
        bail!("this machine does not forward packets\nhint: sysctl -w net.ipv4.ip_forward=1");
    }
    let rules = outside_rules(settings);
    Program::new("nft").args(["-f", "-"]).input(rules).run().await.context("failed to let pods out")?;
    Ok(())
}

/// A table of our own, so that removing it removes everything.
fn outside_rules(settings: &Settings) -> String {
    format!(
        "table ip {table} {{\n  chain out {{\n    type nat hook postrouting priority 100;\n    \
         ip saddr {{ {host}, {pods} }} oifname != \"{link}\" masquerade\n  }}\n}}\n",
        table = table(settings),
        host = settings.host_network(),
        pods = settings.pod_network(),
        link = settings.outside_link()
    )
}

/// nft's names have no `-`.
fn table(settings: &Settings) -> String {
    settings.name().replace('-', "_")
}

/// Something of this machine's own in our networks would be cut off, or cut us off.
async fn refuse_clash(settings: &Settings) -> Result<()> {
    let taken = ip_json(&["route", "show", "table", "all"]).await?;
    let ours = [settings.host_network(), settings.pod_network(), settings.service_network()];
    for route in taken.as_array().into_iter().flatten() {
        let to = route["dst"].as_str().unwrap_or_default();
        if ours.iter().any(|network| network == to) {
            bail!(
                "{to} is taken on this machine (link {})\nhint: is another cluster running? `tests/cluster/down`, or \
                 TM_CLUSTER_NUMBER=1",
                route["dev"].as_str().unwrap_or("unknown")
            );
        }
    }
    Ok(())
}

/// Removes everything [`make`] made; what is not there is no error.
pub(crate) async fn remove(settings: &Settings) -> Result<()> {
    // The cable goes with the namespace, and the routes with the cable; a half-made cluster may have only one of them.
    if outside_link_exists(settings) {
        ip(&["link", "del", &settings.outside_link()]).await?;
    }
    if settings.namespace().exists() {
        ip(&["netns", "del", &settings.name()]).await?;
    }
    if table_exists(settings).await? {
        Program::new("nft").args(["delete", "table", "ip", &table(settings)]).run().await?;
    }
    Ok(())
}

/// What is still there of the network.
pub(crate) async fn left_over(settings: &Settings) -> Result<Vec<String>> {
    let mut left = Vec::new();
    if settings.namespace().exists() {
        left.push(format!("network namespace {}", settings.name()));
    }
    if outside_link_exists(settings) {
        left.push(format!("link {}", settings.outside_link()));
    }
    if table_exists(settings).await? {
        left.push(format!("nft table {}", table(settings)));
    }
    Ok(left)
}

fn outside_link_exists(settings: &Settings) -> bool {
    Path::new("/sys/class/net").join(settings.outside_link()).exists()
}

async fn table_exists(settings: &Settings) -> Result<bool> {
    if !crate::packages::has("nft") {
        return Ok(false);
    }
    let found = Program::new("nft").args(["list", "table", "ip", &table(settings)]).output().await?;
    Ok(found.status.success())
}

async fn ip(args: &[&str]) -> Result<()> {
    Program::new("ip").args(args).run().await.map(drop)
}

async fn ip_json(args: &[&str]) -> Result<Value> {
    let text = Program::new("ip").arg("-json").args(args).run().await?;
    if text.trim_ascii().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_slice(&text).context("`ip -json` wrote no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_machine_is_masqueraded() {
        let settings = Settings::new(0, "/state".into(), "/cache".into()).unwrap();
        let rules = outside_rules(&settings);
        assert!(rules.starts_with("table ip tm_cluster {"), "{rules}");
        assert!(rules.contains("oifname != \"tmc0\" masquerade"), "{rules}");
    }
}
