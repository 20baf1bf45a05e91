//! Routes and their shares, as the watcher sees them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tm_resources::serving::{Route, TrafficTarget};
use tokio::{sync::watch, time::timeout};

use crate::controllers::{RevisionRef, is_cluster_local, is_local};

/// Longest wait for the first list.
const LIST_LIMIT: Duration = Duration::from_secs(10);

/// Who a host name sends to.
#[derive(Debug, Default)]
pub struct Table {
    routes: RwLock<HashMap<Name, Shares>>,
    /// Whether all Routes were seen once.
    listed: watch::Sender<bool>,
}

/// Namespace and name of a Route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The Route is there but sends nowhere yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotReady;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This machine, which is what a cluster's inside is elsewhere.
    Inside,
    /// Another one.
    Outside,
}

#[derive(Debug, Default)]
struct Shares {
    targets: Vec<TrafficTarget>,
    /// Only for those inside who use a name of the inside.
    cluster_local: bool,
    count: AtomicU64,
}

// === impl Table ===

impl Table {
    /// Takes a Route's status.
    pub(crate) fn set(&self, name: Name, route: &Route) {
        let targets = route.status.as_ref().map(|status| status.traffic.clone()).unwrap_or_default();
        let mut routes = self.routes.write().expect("no holder of this lock panics");
        let cluster_local = is_cluster_local(route);
        routes.insert(name, Shares { targets, cluster_local, count: AtomicU64::new(0) });
    }

    /// Forgets a Route.
    pub(crate) fn remove(&self, name: &Name) {
        self.routes.write().expect("no holder of this lock panics").remove(name);
    }

    /// Forgets all Routes but those.
    pub(crate) fn retain(&self, names: &HashSet<Name>) {
        self.routes.write().expect("no holder of this lock panics").retain(|name, _| names.contains(name));
        self.listed.send_replace(true);
    }

    /// As [`Table::lookup`]; a host that is not known waits for the first list of Routes, which an engine that has just started
    /// may not have read yet.
    pub(crate) async fn find(&self, host: &str, from: Origin) -> Option<Result<RevisionRef, NotReady>> {
        let found = self.lookup(host, from);
        if found.is_some() || *self.listed.borrow() {
            return found;
        }
        let mut listed = self.listed.subscribe();
        let _ = timeout(LIST_LIMIT, listed.wait_for(|listed| *listed)).await;
        self.lookup(host, from)
    }

    /// The Revision for a request to `host`; `None` when no Route has that name, or none that is for the one who asks.
    pub(crate) fn lookup(&self, host: &str, from: Origin) -> Option<Result<RevisionRef, NotReady>> {
        let (first, namespace) = labels_of(host)?;
        let inside = from == Origin::Inside && is_local(host);
        let routes = self.routes.read().expect("no holder of this lock panics");
        let shares = |name: &str| {
            let key = Name { namespace: namespace.to_owned(), name: name.to_owned() };
            routes.get(&key).filter(|shares| inside || !shares.cluster_local)
        };
        let found = |revision: Option<&str>| match revision {
            Some(name) => Ok(RevisionRef { namespace: namespace.to_owned(), name: name.to_owned() }),
            None => Err(NotReady),
        };
        if let Some(shares) = shares(first) {
            return Some(found(shares.choose()));
        }
        // `TAG-NAME`: both may hold dashes, so every split is tried, the longest name first.
        first.match_indices('-').find_map(|(at, _)| {
            let (tag, name) = (&first[..at], &first[at + 1..]);
            let target = shares(name)?.targets.iter().find(|target| target.tag.as_deref() == Some(tag))?;
            Some(found(target.revision_name.as_deref()))
        })
    }
}

/// The first two labels of a host name, port or not.
fn labels_of(host: &str) -> Option<(&str, &str)> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let mut labels = host.split('.');
    let (first, second) = (labels.next()?, labels.next()?);
    (!first.is_empty() && !second.is_empty()).then_some((first, second))
}

// === impl Shares ===

impl Shares {
    /// The Revision for the next request. Shares are exact over every hundred requests and well mixed: 61 is prime to 100,
    /// so its multiples visit every percent once.
    fn choose(&self) -> Option<&str> {
        let mut point = self.count.fetch_add(1, Ordering::Relaxed).wrapping_mul(61) % 100;
        for target in &self.targets {
            let percent = u64::try_from(target.percent.unwrap_or(0)).unwrap_or(0);
            if point < percent {
                return target.revision_name.as_deref();
            }
            point -= percent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use tm_resources::serving::RouteStatus;

    use super::*;

    fn target(revision: &str, percent: i64, tag: Option<&str>) -> TrafficTarget {
        TrafficTarget {
            revision_name: Some(revision.into()),
            percent: Some(percent),
            tag: tag.map(str::to_owned),
            ..TrafficTarget::default()
        }
    }

    fn table(targets: Vec<TrafficTarget>) -> Table {
        let table = Table::default();
        let status = RouteStatus { traffic: targets, ..RouteStatus::default() };
        let route = Route { status: Some(status), ..Route::default() };
        table.set(Name { namespace: "default".into(), name: "go-lambda".into() }, &route);
        table
    }

    #[tokio::test]
    async fn an_unknown_host_waits_for_the_first_list() {
        let table = table(vec![target("go-lambda-00001", 100, None)]);
        let other = Name { namespace: "default".into(), name: "late".into() };
        let mut asking = std::pin::pin!(table.find("late.default", Origin::Outside));
        assert!(futures::poll!(asking.as_mut()).is_pending());
        let late = Route {
            status: Some(RouteStatus {
                traffic: vec![target("late-00001", 100, None)],
                ..RouteStatus::default()
            }),
            ..Route::default()
        };
        table.set(other.clone(), &late);
        table.retain(&HashSet::from([other]));
        assert_eq!(asking.await.expect("it is known").expect("it is ready").name, "late-00001");
        assert!(
            table.find("go-lambda.default", Origin::Outside).await.is_none(),
            "what the list lacks is gone, and nobody waits"
        );
    }

    fn revision(table: &Table, host: &str) -> Option<String> {
        table.lookup(host, Origin::Outside).map(|found| found.expect("it is ready").name)
    }

    #[test]
    fn hosts() {
        let table = table(vec![target("r2", 100, None), target("r1", 0, Some("the-old"))]);
        for host in ["go-lambda.default.localhost:3000", "go-lambda.default.example.com", "go-lambda.default"]
        {
            assert_eq!(revision(&table, host).as_deref(), Some("r2"), "{host}");
        }
        assert_eq!(revision(&table, "the-old-go-lambda.default.localhost").as_deref(), Some("r1"));
        for host in
            ["other.default.localhost", "go-lambda.ns.localhost", "go-lambda", "127.0.0.1:3000", "", "."]
        {
            assert_eq!(table.lookup(host, Origin::Outside), None, "{host}");
        }
    }

    #[test]
    fn shares_are_exact_over_a_hundred() {
        let table = table(vec![target("a", 30, None), target("b", 70, None)]);
        let seen: Vec<_> = (0..100).filter_map(|_| revision(&table, "go-lambda.default")).collect();
        assert_eq!(seen.iter().filter(|name| *name == "a").count(), 30);
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn a_cluster_local_route_has_names_of_the_inside_only() {
        let table = Table::default();
        let traffic = vec![target("r1", 100, Some("v1"))];
        let mut route =
            Route { status: Some(RouteStatus { traffic, ..RouteStatus::default() }), ..Route::default() };
        let label = ("networking.knative.dev/visibility".to_owned(), "cluster-local".to_owned());
        route.metadata.labels = Some([label].into());
        table.set(Name { namespace: "default".into(), name: "a".into() }, &route);
        for host in [
            "a.default",
            "a.default.svc",
            "v1-a.default.svc.cluster.local",
            "a.default.svc.cluster.local:3000",
        ] {
            assert!(table.lookup(host, Origin::Inside).is_some(), "{host}");
            assert_eq!(table.lookup(host, Origin::Outside), None, "{host}");
        }
        for host in ["a.default.localhost:3000", "v1-a.default.localhost", "a.default.example.com"] {
            assert_eq!(table.lookup(host, Origin::Inside), None, "{host}");
        }
    }

    #[test]
    fn a_route_without_traffic_is_not_ready() {
        assert_eq!(table(Vec::new()).lookup("go-lambda.default", Origin::Outside), Some(Err(NotReady)));
    }
}
