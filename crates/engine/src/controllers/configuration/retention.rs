//! Old Revisions go, as Knative's `config-gc` has it by default: never one that takes traffic, has a tag, is the latest
//! ready one or says `serving.knative.dev/no-gc`; of the others the stale ones while more than a few remain, and the
//! oldest beyond a thousand.

use std::{collections::HashSet, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use tm_resources::{
    labels::serving::{CONFIGURATION, NO_GC, ROUTING_STATE, ROUTING_STATE_MODIFIED},
    serving::{Configuration, ConfigurationStatus, Revision, Route},
};

use super::super::{Context, ReconcileError};

/// `config-gc` of Knative Serving 1.x, its defaults.
const CONFIG: Limits = Limits {
    since_create: Duration::from_secs(48 * 3600),
    since_active: Duration::from_secs(15 * 3600),
    min: 20,
    max: 1000,
};
/// Value of [`ROUTING_STATE`] of a Revision no Route names.
pub(in super::super) const RESERVE: &str = "reserve";

/// How many Revisions that take no traffic stay, and how long.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// `retain-since-create-time`.
    since_create: Duration,
    /// `retain-since-last-active-time`.
    since_active: Duration,
    /// `min-non-active-revisions`.
    min: usize,
    /// `max-non-active-revisions`.
    max: usize,
}

/// Deletes the Configuration's Revisions that are old enough.
pub(super) async fn collect(
    configuration: &Configuration,
    status: &ConfigurationStatus,
    context: &Context,
) -> Result<(), ReconcileError> {
    let revisions: Api<Revision> = context.beside(configuration);
    let selector = format!("{CONFIGURATION}={}", configuration.name_any());
    let all = revisions.list(&ListParams::default().labels(&selector)).await?.items;
    if all.len() <= CONFIG.min {
        return Ok(());
    }
    let kept =
        kept(status, &context.beside::<Route>(configuration).list(&ListParams::default()).await?.items);
    for name in plan(&all, &kept, CONFIG, Timestamp::now()) {
        tracing::info!(revision = name, "an old revision goes");
        match revisions.delete(&name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => drop(result?),
        }
    }
    Ok(())
}

/// Names of Revisions that must stay, whatever their labels say.
fn kept(status: &ConfigurationStatus, routes: &[Route]) -> HashSet<String> {
    let own = [&status.latest_ready_revision_name, &status.latest_created_revision_name];
    let named = routes.iter().flat_map(|route| {
        let resolved = route.status.iter().flat_map(|status| &status.traffic);
        route.spec.traffic.iter().chain(resolved).filter_map(|target| target.revision_name.clone())
    });
    own.into_iter().flatten().cloned().chain(named).collect()
}

/// Which go, the longest inactive first.
fn plan(all: &[Revision], kept: &HashSet<String>, limits: Limits, now: Timestamp) -> Vec<String> {
    let mut inactive: Vec<(Timestamp, &Revision)> = all
        .iter()
        .filter(|revision| revision.metadata.deletion_timestamp.is_none())
        .filter(|revision| !kept.contains(&revision.name_any()) && !is_active(revision))
        .map(|revision| (last_active(revision), revision))
        .collect();
    inactive.sort_by_key(|(active, revision)| (*active, revision.name_any()));
    let mut left = inactive.len();
    let mut going = Vec::new();
    for (active, revision) in inactive {
        let stale =
            older(active, limits.since_active, now) && older(created(revision), limits.since_create, now);
        if (stale && left > limits.min) || left > limits.max {
            going.push(revision.name_any());
            left -= 1;
        }
    }
    going
}

fn is_active(revision: &Revision) -> bool {
    let preserved = revision.annotations().get(NO_GC).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    preserved || revision.labels().get(ROUTING_STATE).is_none_or(|state| state != RESERVE)
}

fn created(revision: &Revision) -> Timestamp {
    revision.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0)
}

fn last_active(revision: &Revision) -> Timestamp {
    let modified = revision.annotations().get(ROUTING_STATE_MODIFIED);
    modified.and_then(|text| text.parse().ok()).unwrap_or_else(|| created(revision))
}

fn older(time: Timestamp, than: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(time)).is_ok_and(|age| age > than)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits { min: 2, max: 4, ..CONFIG };
    const DAYS: i64 = 24 * 3600;

    fn now() -> Timestamp {
        "2026-01-31T00:00:00Z".parse().expect("a time")
    }

    fn before(seconds: i64) -> String {
        Timestamp::from_second(now().as_second() - seconds).expect("a time").to_string()
    }

    /// A Revision made that long ago and inactive for that long.
    fn revision(name: &str, created: i64, inactive: i64, state: &str) -> Revision {
        serde_json::from_value(json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
            "metadata": {
                "name": name, "creationTimestamp": before(created),
                "labels": {ROUTING_STATE: state}, "annotations": {ROUTING_STATE_MODIFIED: before(inactive)},
            },
            "spec": {"containers": []},
        }))
        .expect("a revision")
    }

    fn old(names: &[&str]) -> Vec<Revision> {
        let ages = (0_i64..).map(|index| (30 - index) * DAYS);
        names.iter().zip(ages).map(|(name, age)| revision(name, age, age, RESERVE)).collect()
    }

    #[test]
    fn stale_ones_go_while_more_than_a_few_remain() {
        let all = old(&["a", "b", "c", "d"]);
        assert_eq!(plan(&all, &HashSet::new(), LIMITS, now()), ["a", "b"]);
        assert!(plan(&all[..2], &HashSet::new(), LIMITS, now()).is_empty(), "a few stay");
    }

    #[test]
    fn what_is_routed_tagged_or_preserved_stays() {
        let mut all = old(&["a", "b", "c", "d", "e", "f"]);
        all[0].metadata.labels = Some([(ROUTING_STATE.to_owned(), "active".to_owned())].into());
        all[1].annotations_mut().insert(NO_GC.into(), "true".into());
        let kept = HashSet::from(["c".to_owned()]);
        assert_eq!(plan(&all, &kept, LIMITS, now()), ["d"]);
        // One that nobody labelled yet is not known to be inactive.
        all[3].metadata.labels = None;
        assert!(plan(&all, &kept, LIMITS, now()).is_empty());
    }

    #[test]
    fn young_ones_stay_until_there_are_too_many() {
        let young = |name: &str, inactive| revision(name, 3600, inactive, RESERVE);
        let all = [young("a", 500), young("b", 400), young("c", 300), young("d", 200)];
        assert!(plan(&all, &HashSet::new(), LIMITS, now()).is_empty());
        let more: Vec<Revision> = all.into_iter().chain([young("e", 100), young("f", 50)]).collect();
        assert_eq!(plan(&more, &HashSet::new(), LIMITS, now()), ["a", "b"]);
        let just_left = revision("x", 30 * DAYS, 3600, RESERVE);
        let three = [just_left.clone(), revision("y", 1, 1, RESERVE), revision("z", 1, 1, RESERVE)];
        assert!(plan(&three, &HashSet::new(), LIMITS, now()).is_empty(), "it was active an hour ago");
    }

    #[test]
    fn routes_and_the_latest_are_kept() {
        let route: Route = serde_json::from_value(json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Route", "metadata": {"name": "r"},
            "spec": {"traffic": [{"revisionName": "a", "tag": "old", "percent": 0}]},
            "status": {"traffic": [{"revisionName": "b", "percent": 100}]},
        }))
        .expect("a route");
        let status = ConfigurationStatus {
            latest_ready_revision_name: Some("c".into()),
            latest_created_revision_name: Some("d".into()),
            ..ConfigurationStatus::default()
        };
        let mut names: Vec<_> = kept(&status, &[route]).into_iter().collect();
        names.sort();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }
}
