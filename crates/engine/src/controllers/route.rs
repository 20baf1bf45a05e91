//! Route: resolves shares of the traffic to Revisions. The ingress sends by what stands in `status.traffic`.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    runtime::{controller::Action, reflector::ObjectRef},
};
use serde_json::{Value, json};
use tm_resources::{
    Condition, ConditionStatus,
    condition::find,
    labels,
    serving::{Addressable, Configuration, Revision, Route, RouteStatus, TrafficTarget},
};

use super::{Context, ReconcileError, configuration::retention::RESERVE, service::summary};

/// The Route that may send to a Configuration: the one of the same name (a Service's).
pub(super) fn of_configuration(configuration: Configuration) -> Option<ObjectRef<Route>> {
    Some(ObjectRef::new(&configuration.name_any()).within(&configuration.namespace()?))
}

/// The Route of the Service a Revision belongs to: a Revision it names may become ready, fail or be deleted.
pub(super) fn of_revision(revision: Revision) -> Option<ObjectRef<Route>> {
    let service = revision.labels().get(labels::serving::SERVICE)?;
    Some(ObjectRef::new(service).within(&revision.namespace()?))
}

/// Why a target cannot be sent to.
struct Missing {
    status: ConditionStatus,
    message: String,
}

/// One look at a Route.
pub(super) async fn reconcile(route: Arc<Route>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    if route.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let mut traffic = Vec::new();
    let mut missing = None;
    for target in &route.spec.traffic {
        match resolve(&route, target, &context).await? {
            Ok(resolved) => traffic.push(resolved),
            Err(problem) => missing = missing.or(Some(problem)),
        }
    }
    let status = status_of(&route, traffic, missing, &context);
    context.write_status(&*route, route.status.as_ref(), &status).await?;
    label(&route, &status, &context).await?;
    Ok(Action::await_change())
}

/// Says on each ready Revision of the Route's Service whether the Route names it, and since when (Knative's labeler): what
/// no Route names grows old and goes some day.
async fn label(route: &Route, status: &RouteStatus, context: &Context) -> Result<(), ReconcileError> {
    let named = |name: &str| {
        let mut targets = route.spec.traffic.iter().chain(&status.traffic);
        targets.any(|target| target.revision_name.as_deref() == Some(name))
    };
    label_configurations(route, context).await?;
    let revisions: Api<Revision> = context.beside(route);
    let selector = format!("{}={}", labels::serving::SERVICE, route.name_any());
    for revision in revisions.list(&ListParams::default().labels(&selector)).await? {
        let name = revision.name_any();
        // One that is not ready yet is about to be named.
        let active = named(&name) || not_ready(&name, Some(&revision)).is_some();
        let Some(metadata) = routing(route, &revision, active) else { continue };
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match revisions.patch(&name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => drop(result?),
        }
    }
    Ok(())
}

/// What a Revision's metadata lacks to say whether the Route sends to it.
fn routing(route: &Route, revision: &Revision, active: bool) -> Option<Value> {
    let state = if active { "active" } else { RESERVE };
    let known = revision.labels().get(labels::serving::ROUTING_STATE).map(String::as_str);
    let routes = active.then(|| route.name_any());
    if known == Some(state) && revision.annotations().get(labels::serving::ROUTES) == routes.as_ref() {
        return None;
    }
    let mut annotations = json!({labels::serving::ROUTES: routes});
    if known != Some(state) {
        annotations[labels::serving::ROUTING_STATE_MODIFIED] = format!("{:.0}", Timestamp::now()).into();
    }
    Some(json!({"labels": {labels::serving::ROUTING_STATE: state}, "annotations": annotations}))
}

/// Says on each Configuration the Route names that it does.
async fn label_configurations(route: &Route, context: &Context) -> Result<(), ReconcileError> {
    let configurations: Api<Configuration> = context.beside(route);
    let names: BTreeSet<_> =
        route.spec.traffic.iter().filter_map(|target| target.configuration_name.as_ref()).collect();
    for name in names {
        let Some(found) = configurations.get_opt(name).await? else { continue };
        let known = found.annotations().get(labels::serving::ROUTES).map(String::as_str).unwrap_or_default();
        let mut routes: BTreeSet<&str> = known.split(',').filter(|name| !name.is_empty()).collect();
        let own = route.name_any();
        if !routes.insert(&own) {
            continue;
        }
        let routes = routes.into_iter().collect::<Vec<_>>().join(",");
        let patch = Patch::Merge(json!({"metadata": {"annotations": {labels::serving::ROUTES: routes}}}));
        match configurations.patch(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => drop(result?),
        }
    }
    Ok(())
}

async fn resolve(
    route: &Route,
    target: &TrafficTarget,
    context: &Context,
) -> Result<Result<TrafficTarget, Missing>, ReconcileError> {
    let (name, latest) = match (&target.revision_name, &target.configuration_name) {
        (Some(name), _) => {
            let revisions: Api<Revision> = context.beside(route);
            if let Some(missing) = not_ready(name, revisions.get_opt(name).await?.as_ref()) {
                return Ok(Err(missing));
            }
            (name.clone(), false)
        }
        (None, Some(configuration)) => match latest_ready(route, configuration, context).await? {
            Ok(name) => (name, true),
            Err(missing) => return Ok(Err(missing)),
        },
        (None, None) => {
            let message = "a traffic target names neither a Revision nor a Configuration".to_owned();
            return Ok(Err(Missing { status: ConditionStatus::False, message }));
        }
    };
    let url = target.tag.as_deref().map(|tag| url_of(route, Some(tag), context));
    Ok(Ok(TrafficTarget {
        revision_name: Some(name),
        latest_revision: Some(latest),
        percent: target.percent,
        tag: target.tag.clone(),
        url,
        ..TrafficTarget::default()
    }))
}

/// Whether a Route may only be reached from inside.
pub(crate) fn is_cluster_local(route: &Route) -> bool {
    route.labels().get(labels::networking::VISIBILITY).is_some_and(|v| v == labels::networking::CLUSTER_LOCAL)
}

fn url_of(route: &Route, tag: Option<&str>, context: &Context) -> String {
    let (name, namespace) = (route.name_any(), route.namespace().unwrap_or_default());
    match is_cluster_local(route) {
        true => context.domain.local_url(tag, &name, &namespace),
        false => context.domain.url(tag, &name, &namespace),
    }
}

/// Why a Revision that is named cannot be sent to.
fn not_ready(name: &str, revision: Option<&Revision>) -> Option<Missing> {
    let missing = |status, message| Some(Missing { status, message });
    let Some(revision) = revision else {
        let message = format!("Revision \"{name}\" referenced in traffic not found.");
        return missing(ConditionStatus::False, message);
    };
    let conditions = revision.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    match find(conditions, "Ready").map(|ready| ready.status) {
        Some(ConditionStatus::True) => None,
        Some(ConditionStatus::False) => {
            missing(ConditionStatus::False, format!("Revision \"{name}\" failed to become ready."))
        }
        _ => missing(ConditionStatus::Unknown, format!("Revision \"{name}\" is not yet ready.")),
    }
}

async fn latest_ready(
    route: &Route,
    configuration: &str,
    context: &Context,
) -> Result<Result<String, Missing>, ReconcileError> {
    let configurations: Api<Configuration> = context.beside(route);
    let Some(found) = configurations.get_opt(configuration).await? else {
        let message = format!("Configuration \"{configuration}\" referenced in traffic not found.");
        return Ok(Err(Missing { status: ConditionStatus::False, message }));
    };
    let status = found.status.unwrap_or_default();
    let failed =
        find(&status.conditions, "Ready").is_some_and(|ready| ready.status == ConditionStatus::False);
    Ok(match status.latest_ready_revision_name {
        Some(name) => Ok(name),
        None if failed => Err(Missing {
            status: ConditionStatus::False,
            message: format!("Configuration \"{configuration}\" does not have any ready Revision."),
        }),
        None => Err(Missing {
            status: ConditionStatus::Unknown,
            message: format!("Configuration \"{configuration}\" is waiting for a Revision to become ready."),
        }),
    })
}

fn status_of(
    route: &Route,
    traffic: Vec<TrafficTarget>,
    missing: Option<Missing>,
    context: &Context,
) -> RouteStatus {
    let url = url_of(route, None, context);
    let (assigned, ingress, traffic) = match missing {
        None => (
            Condition::new("AllTrafficAssigned", ConditionStatus::True),
            Condition::new("IngressReady", ConditionStatus::True),
            traffic,
        ),
        Some(missing) => {
            let assigned = Condition::new("AllTrafficAssigned", missing.status)
                .because("RevisionMissing", &missing.message);
            let configured = route.status.as_ref().is_some_and(|status| !status.traffic.is_empty());
            let ingress = if configured {
                Condition::new("IngressReady", ConditionStatus::True)
            } else {
                let message = "Ingress has not yet been reconciled.";
                Condition::new("IngressReady", ConditionStatus::Unknown)
                    .because("IngressNotConfigured", message)
            };
            // What worked before goes on working while the new target is not there.
            let before = route.status.as_ref().map(|status| status.traffic.clone()).unwrap_or_default();
            (assigned, ingress, before)
        }
    };
    // Nothing is sent to an address, nor is there anything to certify, until traffic was assigned once.
    let reached = !traffic.is_empty();
    let certificate = if reached {
        Condition::new("CertificateProvisioned", ConditionStatus::True)
            .because("TLSNotEnabled", "external-domain-tls is not enabled")
    } else {
        Condition::new("CertificateProvisioned", ConditionStatus::Unknown)
    };
    let ready = summary(&[&ingress, &assigned]);
    RouteStatus {
        observed_generation: route.metadata.generation,
        conditions: vec![assigned, certificate, ingress, ready],
        address: reached.then(|| Addressable { url: Some(url.clone()) }),
        url: Some(url),
        traffic,
    }
}

#[cfg(test)]
mod tests {
    use tm_resources::serving::RevisionStatus;

    use super::*;

    #[test]
    fn a_revision_says_who_sends_to_it() {
        let mut route = Route::default();
        route.metadata.name = Some("r".into());
        let mut revision = Revision::default();
        let metadata = routing(&route, &revision, true).expect("nothing is said yet");
        assert_eq!(metadata["annotations"]["serving.knative.dev/routes"], "r");
        assert!(metadata["annotations"]["serving.knative.dev/routingStateModified"].is_string());
        revision.metadata = serde_json::from_value(metadata).expect("metadata");
        assert_eq!(routing(&route, &revision, true), None);
        let metadata = routing(&route, &revision, false).expect("it is let go");
        assert!(metadata["annotations"]["serving.knative.dev/routes"].is_null());
        assert_eq!(metadata["labels"]["serving.knative.dev/routingState"], "reserve");
    }

    #[test]
    fn only_ready_revisions_are_sent_to() {
        let with = |status| Revision {
            status: Some(RevisionStatus {
                conditions: vec![Condition::new("Ready", status)],
                ..RevisionStatus::default()
            }),
            ..Revision::default()
        };
        let status = |revision: Option<&Revision>| not_ready("r", revision).map(|missing| missing.status);
        assert_eq!(status(None), Some(ConditionStatus::False));
        assert_eq!(status(Some(&Revision::default())), Some(ConditionStatus::Unknown));
        assert_eq!(status(Some(&with(ConditionStatus::False))), Some(ConditionStatus::False));
        assert_eq!(status(Some(&with(ConditionStatus::True))), None);
    }
}
