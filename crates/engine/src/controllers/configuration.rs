//! Configuration: makes a Revision of each generation of its template, says which one is ready, and lets old ones go.

pub(super) mod retention;

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
    runtime::controller::Action,
};
use tm_resources::{
    Condition, ConditionStatus,
    condition::find,
    labels, names,
    serving::{Configuration, ConfigurationStatus, Revision},
};

use super::{Context, ReconcileError, context::owned_by};
use crate::events::Teller;

/// Who tells what happens to Configurations.
const TELLER: Teller = Teller::Serving("configuration");

/// One look at a Configuration.
pub(super) async fn reconcile(
    configuration: Arc<Configuration>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    if configuration.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let revisions: Api<Revision> = context.beside(&*configuration);
    let name = revision_name(&configuration);
    let revision = match revisions.get_opt(&name).await? {
        Some(revision) => revision,
        None => match revisions.create(&PostParams::default(), &revision_of(&configuration, &name)).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => revisions.get(&name).await?,
            created => {
                let message = format!("Created Revision \"{name}\"");
                context.events.note(&*configuration, TELLER, "Created", message);
                created?
            }
        },
    };
    let status = status_of(&configuration, &revision);
    context.write_status(&*configuration, configuration.status.as_ref(), &status).await?;
    tell(&configuration, &revision, &status, &context);
    retention::collect(&configuration, &status, &context).await?;
    Ok(Action::await_change())
}

/// Says, once, that a Revision became ready or failed (Knative's configuration controller, its words).
fn tell(configuration: &Configuration, revision: &Revision, status: &ConfigurationStatus, context: &Context) {
    let failed = |status: &ConfigurationStatus| {
        find(&status.conditions, "Ready")
            .is_some_and(|ready| ready.reason.as_deref() == Some("RevisionFailed"))
    };
    if failed(status) && !configuration.status.as_ref().is_some_and(failed) {
        let message = format!("Latest created revision \"{}\" has failed", revision.name_any());
        context.events.warn(configuration, TELLER, "LatestCreatedFailed", message);
    }
    let before = configuration.status.as_ref().and_then(|status| status.latest_ready_revision_name.as_ref());
    let Some(ready) = status.latest_ready_revision_name.as_ref().filter(|ready| Some(*ready) != before)
    else {
        return;
    };
    if before.is_none() {
        context.events.note(configuration, TELLER, "ConfigurationReady", "Configuration becomes ready");
    }
    let message = format!("LatestReadyRevisionName updated to \"{ready}\"");
    context.events.note(configuration, TELLER, "LatestReadyUpdate", message);
    let message = "Revision becomes ready upon all resources being ready";
    context.events.note(revision, Teller::Serving("revision"), "RevisionReady", message);
}

/// The name the template gives, else `NAME-00001` by generation.
fn revision_name(configuration: &Configuration) -> String {
    let given = configuration.spec.template.metadata.name.clone();
    let generation = configuration.metadata.generation.unwrap_or(1);
    given.unwrap_or_else(|| names::revision(&configuration.name_any(), generation))
}

fn revision_of(configuration: &Configuration, name: &str) -> Revision {
    let template = &configuration.spec.template;
    let mut labels = template.metadata.labels.clone();
    let inherited = [labels::serving::SERVICE, labels::serving::SERVICE_UID];
    for key in inherited {
        if let Some(value) = configuration.labels().get(key) {
            labels.insert(key.into(), value.clone());
        }
    }
    labels.insert(labels::serving::CONFIGURATION.into(), configuration.name_any());
    labels.insert(labels::serving::CONFIGURATION_UID.into(), configuration.uid().unwrap_or_default());
    let generation = configuration.metadata.generation.unwrap_or(1).to_string();
    labels.insert(labels::serving::CONFIGURATION_GENERATION.into(), generation);
    labels.insert(labels::serving::ROUTING_STATE.into(), "active".into());
    let mut annotations = template.metadata.annotations.clone();
    annotations.insert(labels::serving::ROUTING_STATE_MODIFIED.into(), format!("{:.0}", Timestamp::now()));
    if let Some(creator) = configuration.annotations().get(labels::serving::CREATOR) {
        annotations.insert(labels::serving::CREATOR.into(), creator.clone());
    }
    let metadata = ObjectMeta {
        name: Some(name.into()),
        namespace: configuration.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(owned_by(configuration)),
        ..ObjectMeta::default()
    };
    Revision { metadata, spec: template.spec.clone(), status: None }
}

fn status_of(configuration: &Configuration, revision: &Revision) -> ConfigurationStatus {
    let name = revision.name_any();
    let empty = Vec::new();
    let conditions = revision.status.as_ref().map_or(&empty, |status| &status.conditions);
    let before = configuration.status.as_ref().and_then(|status| status.latest_ready_revision_name.clone());
    let foreign =
        !revision.owner_references().iter().any(|owner| Some(&owner.uid) == configuration.uid().as_ref());
    let (ready, latest_ready) = match find(conditions, "Ready") {
        _ if foreign => {
            let message = format!("There is an existing Revision \"{name}\" that we do not own.");
            (Condition::new("Ready", ConditionStatus::False).because("NotOwned", &message), before)
        }
        Some(ready) if ready.status == ConditionStatus::True => {
            (Condition::new("Ready", ConditionStatus::True), Some(name.clone()))
        }
        Some(ready) if ready.status == ConditionStatus::False => {
            let why = ready.message.as_deref().unwrap_or_default();
            let message = format!("Revision \"{name}\" failed with message: {why}.");
            (Condition::new("Ready", ConditionStatus::False).because("RevisionFailed", &message), before)
        }
        _ => (Condition::new("Ready", ConditionStatus::Unknown), before),
    };
    ConfigurationStatus {
        observed_generation: configuration.metadata.generation,
        conditions: vec![ready],
        latest_created_revision_name: Some(name),
        latest_ready_revision_name: latest_ready,
    }
}
