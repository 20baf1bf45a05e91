//! The cluster's DNS: dnsmasq with a hosts file that follows the Services, and the machine's own resolvers for the rest.
//!
//! `tm-cluster dns` is the follower: it watches Services and EndpointSlices, writes the file and tells dnsmasq.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;
use fs_err as fs;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, ResourceExt as _,
    runtime::{WatchStreamExt as _, reflector, watcher},
};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;

use crate::{
    daemons::{self, Daemon, wait_ready},
    kubeconfig,
    settings::{DOMAIN, Settings},
};

/// Names of the components.
pub(crate) const NAMES: &[&str] = &["dns-follower", "dnsmasq"];
/// Label of an EndpointSlice with its Service's name.
const OF_SERVICE: &str = "kubernetes.io/service-name";
const PORT: u16 = 53;
const MOST_ALIASES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts dnsmasq and the follower.
pub(crate) async fn start(settings: &Settings) -> Result<()> {
    let hosts = settings.state.join("hosts");
    if !hosts.exists() {
        fs::write(&hosts, "")?;
    }
    let resolvers = upstreams(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    Daemon::new("dnsmasq", "dnsmasq")
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--user=root"])
        .args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--except-interface=lo"])
        .arg(format!("--listen-address={}", settings.address()))
        .arg(format!("--addn-hosts={}", hosts.display()))
        .arg(format!("--local=/{DOMAIN}/"))
        .arg(format!("--pid-file={}", settings.text("run/dnsmasq.own.pid")))
        .args(resolvers.iter().map(|address| format!("--server={address}")))
        .start(settings)?;
    // The follower's SIGHUP would end a dnsmasq that does not yet expect it.
    let address = (settings.address(), PORT);
    let answers = || async { TcpStream::connect(&address).await.is_ok() };
    wait_ready(settings, "dnsmasq", PATIENCE, answers).await?;
    // The file of the running program may be replaced by a build; the process keeps its own.
    Daemon::new("dns-follower", std::env::current_exe()?)
        .arg("dns")
        .env("TM_CLUSTER_STATE", settings.state.display().to_string())
        .env("TM_CLUSTER_CACHE", settings.cache.display().to_string())
        .env("TM_CLUSTER_NUMBER", settings.number().to_string())
        .start(settings)?;
    let named = || async { fs::metadata(&hosts).is_ok_and(|meta| meta.len() > 0) };
    wait_ready(settings, "dns-follower", PATIENCE, named).await
}

/// Follows the Services until it is killed.
pub(crate) async fn follow(settings: &Settings) -> Result<()> {
    let client = kubeconfig::client(settings).await?;
    let (services, service_writer) = reflector::store();
    let (slices, slice_writer) = reflector::store();
    let config = watcher::Config::default;
    let service_events = reflector(service_writer, watcher(Api::<Service>::all(client.clone()), config()))
        .default_backoff()
        .map(drop)
        .boxed();
    let slice_events = reflector(slice_writer, watcher(Api::<EndpointSlice>::all(client), config()))
        .default_backoff()
        .map(drop)
        .boxed();
    let mut events = stream::select(service_events, slice_events).ready_chunks(1024);
    let mut before = String::new();
    while events.next().await.is_some() {
        let services: Vec<_> = services.state().iter().map(|s| s.as_ref().clone()).collect();
        let slices: Vec<_> = slices.state().iter().map(|s| s.as_ref().clone()).collect();
        let hosts = hosts(&services, &slices);
        if hosts != before {
            tm_oci::layout::write_atomic(&settings.state.join("hosts"), hosts.as_bytes())?;
            daemons::signal(settings, "dnsmasq", Signal::SIGHUP);
            before = hosts;
        }
    }
    Ok(())
}

/// `nameserver` lines.
fn upstreams(resolv_conf: &str) -> Vec<String> {
    let servers = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|rest| rest.split_whitespace().next()).map(String::from).collect()
}

/// Lines `address name`: a Service's own address, its pods' when it has none, or its target's when it is an alias.
fn hosts(services: &[Service], slices: &[EndpointSlice]) -> String {
    let name_of =
        |s: &Service| format!("{}.{}.svc.{DOMAIN}", s.name_any(), s.namespace().unwrap_or_default());
    let by_name: BTreeMap<String, &Service> = services.iter().map(|s| (name_of(s), s)).collect();
    let mut lines = BTreeSet::new();
    for name in by_name.keys() {
        let mut target = name.clone();
        for _ in 0..MOST_ALIASES {
            let Some(service) = by_name.get(&target) else { break };
            let spec = service.spec.clone().unwrap_or_default();
            match spec.external_name {
                Some(next) => target = next.trim_end_matches('.').to_owned(),
                None => {
                    let addresses = addresses(service, slices);
                    lines.extend(addresses.into_iter().map(|address| format!("{address} {name}\n")));
                    break;
                }
            }
        }
    }
    lines.into_iter().collect()
}

fn addresses(service: &Service, slices: &[EndpointSlice]) -> Vec<String> {
    let cluster_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default();
    if cluster_ip != "None" {
        return if cluster_ip.is_empty() { Vec::new() } else { vec![cluster_ip] };
    }
    let ours = |slice: &&EndpointSlice| {
        slice.namespace() == service.namespace()
            && slice.labels().get(OF_SERVICE).is_some_and(|name| *name == service.name_any())
    };
    let endpoints = slices.iter().filter(ours).flat_map(|slice| slice.endpoints.iter());
    let ready = endpoints.filter(|e| e.conditions.as_ref().is_none_or(|c| c.ready != Some(false)));
    ready.flat_map(|endpoint| endpoint.addresses.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(name: &str, spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "a"}, "spec": spec})).unwrap()
    }

    #[test]
    fn services_have_their_own_address_their_pods_or_that_of_their_target() {
        let services = [
            service("plain", json!({"clusterIP": "10.0.0.1"})),
            service("headless", json!({"clusterIP": "None"})),
            service("alias", json!({"externalName": "second.a.svc.cluster.local"})),
            service("second", json!({"externalName": "plain.a.svc.cluster.local."})),
            service("loop", json!({"externalName": "loop.a.svc.cluster.local"})),
            service("outside", json!({"externalName": "example.com"})),
        ];
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "x", "namespace": "a", "labels": {OF_SERVICE: "headless"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.1.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
            ],
        }))
        .unwrap();
        assert_eq!(
            hosts(&services, &[slice]),
            "10.0.0.1 alias.a.svc.cluster.local\n10.0.0.1 plain.a.svc.cluster.local\n\
             10.0.0.1 second.a.svc.cluster.local\n10.1.0.1 headless.a.svc.cluster.local\n"
        );
    }

    #[test]
    fn the_machine_s_resolvers_are_read() {
        let text = "# a comment\nnameserver 192.0.2.53\nsearch x\nnameserver 2001:db8::1 # b\n";
        assert_eq!(upstreams(text), ["192.0.2.53", "2001:db8::1"]);
    }
}
