//! Follows Routes and pods of Revisions, and keeps the table and the gates up to date.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
    /// Pods before the list that is being read: what it does not name was deleted while nobody watched.
    before: HashMap<RevisionRef, BTreeMap<String, SocketAddr>>,
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
    let mut listed = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = routes.next() => match event {
                Some(Ok(event)) => on_route(event, &table, &mut listed),
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

/// `listed` are the names of the list that is being read.
fn on_route(event: Event<Route>, table: &Table, listed: &mut HashSet<Name>) {
    let name =
        |route: &Route| Name { namespace: route.namespace().unwrap_or_default(), name: route.name_any() };
    match event {
        Event::Apply(route) => table.set(name(&route), &route),
        Event::InitApply(route) => {
            table.set(name(&route), &route);
            listed.insert(name(&route));
        }
        Event::Delete(route) => table.remove(&name(&route)),
        Event::Init => listed.clear(),
        Event::InitDone => table.retain(&std::mem::take(listed)),
    }
}

// === impl Pods ===

impl Pods {
    fn on_pod(&mut self, event: Event<Pod>, autoscaler: &Autoscaler) {
        let (pod, there) = match event {
            Event::Apply(pod) | Event::InitApply(pod) => (pod, true),
            Event::Delete(pod) => (pod, false),
            Event::Init => return self.before = std::mem::take(&mut self.ready),
            Event::InitDone => return self.listed(autoscaler),
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

    /// Revisions whose pods are all gone since the last list.
    fn listed(&mut self, autoscaler: &Autoscaler) {
        for (revision, _) in std::mem::take(&mut self.before) {
            let ready = self.ready.get(&revision).cloned().unwrap_or_default();
            autoscaler.gate(&revision).set_endpoints(ready);
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
    use tm_resources::serving::{RouteStatus, TrafficTarget};

    use super::*;

    fn ready_pod(name: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.namespace = Some("default".into());
        pod.metadata.labels = Some(BTreeMap::from([(REVISION.into(), "r".into())]));
        pod.metadata.annotations = Some(BTreeMap::from([(PORT.into(), "7".into())]));
        let ready = PodCondition { type_: "Ready".into(), status: "True".into(), ..PodCondition::default() };
        pod.status = Some(PodStatus {
            pod_ip: Some("127.0.0.1".into()),
            conditions: Some(vec![ready]),
            ..PodStatus::default()
        });
        pod
    }

    #[tokio::test]
    async fn what_a_new_list_does_not_name_is_gone() {
        let (autoscaler, _wishes) = Autoscaler::new();
        let revision = RevisionRef { namespace: "default".into(), name: "r".into() };
        let mut pods = Pods::default();
        pods.on_pod(Event::Apply(ready_pod("a")), &autoscaler);
        assert_eq!(autoscaler.gate(&revision).running(), 1);
        pods.on_pod(Event::Init, &autoscaler);
        pods.on_pod(Event::InitDone, &autoscaler);
        assert_eq!(autoscaler.gate(&revision).running(), 0);

        let (table, mut listed) = (Table::default(), HashSet::new());
        let target =
            TrafficTarget { revision_name: Some("r".into()), percent: Some(100), ..Default::default() };
        let mut route = Route::default();
        route.metadata.name = Some("f".into());
        route.metadata.namespace = Some("default".into());
        route.status = Some(RouteStatus { traffic: vec![target], ..RouteStatus::default() });
        on_route(Event::Apply(route), &table, &mut listed);
        assert!(table.lookup("f.default", super::super::table::Origin::Inside).is_some());
        on_route(Event::Init, &table, &mut listed);
        on_route(Event::InitDone, &table, &mut listed);
        assert!(table.lookup("f.default", super::super::table::Origin::Inside).is_none());
    }
}
