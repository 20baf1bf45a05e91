//! Service: keeps a Configuration and a Route of the same name, and sums up how they are.

use std::{fmt::Debug, sync::Arc, time::Duration};

use kube::{
    Resource, ResourceExt, api::ObjectMeta, core::NamespaceResourceScope, runtime::controller::Action,
};
use serde::{Serialize, de::DeserializeOwned};
use tm_resources::{
    Condition, ConditionStatus,
    condition::find,
    labels,
    serving::{Configuration, ConfigurationSpec, Route, RouteSpec, Service, ServiceStatus, TrafficTarget},
};

use super::{Context, ReconcileError, context::owned_by};
use crate::events::Teller;

/// Who tells what happens to Services.
const TELLER: Teller = Teller::Serving("service");
/// Pause before an object that is somebody else's is looked at again.
const NOT_OWNED_RETRY: Duration = Duration::from_secs(10);

/// One look at a Service.
pub(super) async fn reconcile(
    service: Arc<Service>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    if service.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let configuration = match own(&service, &configuration_of(&service), &context).await? {
        Ok(configuration) => configuration,
        Err(NotOwned) => return not_owned(&service, "ConfigurationsReady", "Configuration", &context).await,
    };
    let route = match own(&service, &route_of(&service), &context).await? {
        Ok(route) => route,
        Err(NotOwned) => return not_owned(&service, "RoutesReady", "Route", &context).await,
    };
    let status = status_of(&service, &configuration, &route);
    context.write_status(&*service, service.status.as_ref(), &status).await?;
    Ok(Action::await_change())
}

/// An object of that name is somebody else's.
struct NotOwned;

/// Makes an object of the Service as it should be, unless there is one of that name that is not the Service's.
async fn own<K>(
    service: &Service,
    wanted: &K,
    context: &Context,
) -> Result<Result<K, NotOwned>, ReconcileError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let found = context.beside::<K>(service).get_opt(&wanted.name_any()).await?;
    let owned = |object: &K| {
        let mut owners = object.owner_references().iter();
        owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == service.uid().as_ref())
    };
    if found.as_ref().is_some_and(|object| !owned(object)) {
        return Ok(Err(NotOwned));
    }
    let applied = context.apply(wanted).await?;
    if found.is_none() {
        let message = format!("Created {} \"{}\"", K::kind(&()), wanted.name_any());
        context.events.note(service, TELLER, "Created", message);
    }
    Ok(Ok(applied))
}

/// What Knative's service reconciler says then. It is looked at again: nobody tells us when the other one goes.
async fn not_owned(
    service: &Service,
    condition: &str,
    kind: &str,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let name = service.name_any();
    let message = format!("There is an existing {kind} \"{name}\" that we do not own.");
    let failed = Condition::new(condition, ConditionStatus::False).because("NotOwned", &message);
    let mut status = service.status.clone().unwrap_or_default();
    status.observed_generation = service.metadata.generation;
    let mut parts: Vec<Condition> = ["ConfigurationsReady", "RoutesReady"]
        .map(|type_| match find(&status.conditions, type_) {
            _ if type_ == condition => failed.clone(),
            Some(known) => known.clone(),
            None => Condition::new(type_, ConditionStatus::Unknown),
        })
        .into();
    parts.insert(1, summary(&parts.iter().collect::<Vec<_>>()));
    status.conditions = parts;
    context.write_status(service, service.status.as_ref(), &status).await?;
    let message = format!("service: \"{name}\" does not own {}: \"{name}\"", kind.to_lowercase());
    context.events.warn(service, TELLER, "InternalError", message);
    Ok(Action::requeue(NOT_OWNED_RETRY))
}

fn child_meta(service: &Service) -> ObjectMeta {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(labels::serving::SERVICE.into(), service.name_any());
    let copied = [labels::serving::CREATOR, labels::serving::LAST_MODIFIER];
    let annotations = service.annotations().iter().filter(|(key, _)| copied.contains(&key.as_str()));
    ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations.map(|(key, value)| (key.clone(), value.clone())).collect()),
        owner_references: Some(owned_by(service)),
        ..ObjectMeta::default()
    }
}

fn configuration_of(service: &Service) -> Configuration {
    let spec = ConfigurationSpec { template: service.spec.template.clone() };
    let mut metadata = child_meta(service);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(labels::serving::SERVICE_UID.into(), service.uid().unwrap_or_default());
    Configuration { metadata, spec, status: None }
}

/// The Route sends to the Service's own Configuration where the Service says "latest".
fn route_of(service: &Service) -> Route {
    let mut traffic = service.spec.traffic.clone();
    if traffic.is_empty() {
        traffic.push(TrafficTarget {
            latest_revision: Some(true),
            percent: Some(100),
            ..TrafficTarget::default()
        });
    }
    for target in &mut traffic {
        if target.revision_name.is_none() {
            target.configuration_name = Some(service.name_any());
        }
        target.url = None;
    }
    Route { metadata: child_meta(service), spec: RouteSpec { traffic }, status: None }
}

fn status_of(service: &Service, configuration: &Configuration, route: &Route) -> ServiceStatus {
    let empty = Default::default();
    let from = configuration.status.as_ref().unwrap_or(&empty);
    let settled =
        |observed: Option<i64>, generation: Option<i64>| observed.is_some() && observed == generation;
    let configurations_ready = if settled(from.observed_generation, configuration.metadata.generation) {
        copied("ConfigurationsReady", find(&from.conditions, "Ready"))
    } else {
        out_of_date("ConfigurationsReady", "Configuration")
    };
    let empty = Default::default();
    let routed = route.status.as_ref().unwrap_or(&empty);
    let routes_ready = if settled(routed.observed_generation, route.metadata.generation) {
        traffic_is_here(from.latest_created_revision_name.as_deref(), routed.conditions.as_slice(), route)
    } else {
        out_of_date("RoutesReady", "Route")
    };
    let ready = summary(&[&configurations_ready, &routes_ready]);
    ServiceStatus {
        observed_generation: service.metadata.generation,
        conditions: vec![configurations_ready, ready, routes_ready],
        url: routed.url.clone(),
        address: routed.address.clone(),
        latest_created_revision_name: from.latest_created_revision_name.clone(),
        latest_ready_revision_name: from.latest_ready_revision_name.clone(),
        traffic: routed
            .traffic
            .iter()
            .cloned()
            .map(|mut target| {
                target.configuration_name = None;
                target
            })
            .collect(),
        ..ServiceStatus::default()
    }
}

/// The Route is ready, but traffic for "latest" may still go to an older Revision (Knative: `TrafficNotMigrated`).
fn traffic_is_here(latest: Option<&str>, conditions: &[Condition], route: &Route) -> Condition {
    let ready = find(conditions, "Ready");
    let wants_latest = route.spec.traffic.iter().any(|target| target.configuration_name.is_some());
    let there = route.status.iter().flat_map(|status| &status.traffic);
    let mut latest_targets = there.filter(|target| target.latest_revision == Some(true));
    let migrated = !wants_latest || latest_targets.all(|target| target.revision_name.as_deref() == latest);
    if ready.is_some_and(|ready| ready.status == ConditionStatus::True) && !migrated {
        return Condition::new("RoutesReady", ConditionStatus::Unknown)
            .because("TrafficNotMigrated", "Traffic is not yet migrated to the latest revision.");
    }
    copied("RoutesReady", ready)
}

fn copied(type_: &str, from: Option<&Condition>) -> Condition {
    match from {
        None => Condition::new(type_, ConditionStatus::Unknown),
        Some(from) => Condition::new(type_, from.status)
            .because(from.reason.as_deref().unwrap_or_default(), from.message.as_deref().unwrap_or_default()),
    }
}

fn out_of_date(type_: &str, kind: &str) -> Condition {
    let message = format!("The {kind} is still working to reflect the latest desired specification.");
    Condition::new(type_, ConditionStatus::Unknown).because("OutOfDate", &message)
}

/// The happy condition of Knative's condition sets: False before Unknown before True; the last failing one explains.
pub(super) fn summary(parts: &[&Condition]) -> Condition {
    let worst = |status| parts.iter().rev().find(move |part| part.status == status);
    match worst(ConditionStatus::False).or_else(|| worst(ConditionStatus::Unknown)) {
        Some(part) => copied("Ready", Some(part)),
        None => Condition::new("Ready", ConditionStatus::True),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_explains_before_unknown() {
        let unknown = Condition::new("A", ConditionStatus::Unknown).because("Later", "");
        let failed = Condition::new("B", ConditionStatus::False).because("Broken", "no image");
        let fine = Condition::new("C", ConditionStatus::True);
        let ready = summary(&[&failed, &unknown, &fine]);
        assert_eq!((ready.status, ready.text()), (ConditionStatus::False, "Broken: no image".to_owned()));
        assert_eq!(summary(&[&fine]).status, ConditionStatus::True);
    }
}
