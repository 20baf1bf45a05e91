//! Follows Routes and pods of Revisions, and keeps the table and the gates up to date.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{Config, Event, watcher},
    },
};
use tm_resources::{labels::serving::REVISION, serving::Route};
use tokio_util::sync::CancellationToken;

use super::table::{Name, Table};
use crate::{autoscaler::Autoscaler, controllers::RevisionRef, runner::kubelet::PORT};

/// Ready pods of each Revision.
#[derive(Default)]
struct Pods {
    ready: HashMap<RevisionRef, BTreeMap<String, SocketAddr>>,
}

/// Runs until `stop`.
pub(crate) async fn follow(
    client: Client,
    table: Arc<Table>,
    autoscaler: Arc<Autoscaler>,
    stop: CancellationToken,
) {
    let pod_config = Config::default().labels(REVISION);
    let mut routes = watcher(Api::<Route>::all(client.clone()), Config::default()).default_backoff().boxed();
    let mut pods = watcher(Api::<Pod>::all(client), pod_config).default_backoff().boxed();
    let mut known = Pods::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = routes.next() => match event {
                Some(Ok(event)) => on_route(event, &table),
                Some(Err(error)) => tracing::warn!(%error, "route watch failed; it is retried"),
                None => return,
            },
            event = pods.next() => match event {
                Some(Ok(event)) => known.on_pod(event, &autoscaler),
                Some(Err(error)) => tracing::warn!(%error, "pod watch failed; it is retried"),
                None => return,
            },
        }
    }
}

fn on_route(event: Event<Route>, table: &Table) {
    let name =
        |route: &Route| Name { namespace: route.namespace().unwrap_or_default(), name: route.name_any() };
    match event {
        Event::Apply(route) | Event::InitApply(route) => table.set(name(&route), &route),
        Event::Delete(route) => table.remove(&name(&route)),
        Event::Init | Event::InitDone => {}
    }
}

// === impl Pods ===

impl Pods {
    fn on_pod(&mut self, event: Event<Pod>, autoscaler: &Autoscaler) {
        let (pod, there) = match event {
            Event::Apply(pod) | Event::InitApply(pod) => (pod, true),
            Event::Delete(pod) => (pod, false),
            Event::Init => return self.ready.clear(),
            Event::InitDone => return,
        };
        let Some(revision) = pod.labels().get(REVISION) else { return };
        let revision = RevisionRef { namespace: pod.namespace().unwrap_or_default(), name: revision.clone() };
        let ready = self.ready.entry(revision.clone()).or_default();
        let before = ready.clone();
        match address_of(&pod).filter(|_| there) {
            Some(address) => drop(ready.insert(pod.name_any(), address)),
            None => drop(ready.remove(&pod.name_any())),
        }
        if *ready != before {
            autoscaler.gate(&revision).set_endpoints(ready.clone());
        }
        if ready.is_empty() {
            self.ready.remove(&revision);
        }
    }
}

/// Where a ready pod that stays listens.
fn address_of(pod: &Pod) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    let ready = status.conditions.as_ref()?.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    if !ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let ip: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
    let port = pod.annotations().get(PORT)?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}
