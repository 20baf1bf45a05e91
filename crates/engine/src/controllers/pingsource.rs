//! PingSource: finds the sink, says so, and lets the schedule run.

mod clock;
mod event;
mod post;
mod sink;

use std::sync::Arc;

use kube::{
    Resource, ResourceExt,
    runtime::{controller::Action, reflector},
};
use tm_resources::{
    Condition, ConditionStatus,
    sources::{CloudEventAttributes, PING_TYPE, PingSource, PingSourceStatus, ping_source},
};

pub(crate) use clock::Pings;
pub(crate) use post::Post;

use super::{Context, ReconcileError, service::summary};
use crate::events::Teller;

/// Who tells what happens to sources.
const TELLER: Teller = Teller::Eventing("pingsource-controller");

/// The sources whose sink an object is: its address may have come or gone.
pub(super) fn of<K>(sources: &reflector::Store<PingSource>, sink: &K) -> Vec<reflector::ObjectRef<PingSource>>
where
    K: Resource<DynamicType = ()>,
{
    let (name, namespace) = (sink.name_any(), sink.namespace());
    let names_it = |source: &PingSource| {
        source.spec.sink.reference.as_ref().is_some_and(|reference| {
            let there = reference.namespace.clone().or_else(|| source.namespace());
            reference.name == name && there == namespace
        })
    };
    sources
        .state()
        .iter()
        .filter(|source| names_it(source))
        .map(|source| reflector::ObjectRef::from_obj(&**source))
        .collect()
}

/// One look at a PingSource.
pub(super) async fn reconcile(
    source: Arc<PingSource>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    if source.metadata.deletion_timestamp.is_some() {
        context.pings.stop(&key(&source));
        return Ok(Action::await_change());
    }
    let found = sink::find(&source, &context).await?;
    let status = status_of(&source, found.as_ref().map(String::as_str));
    context.write_status(&*source, source.status.as_ref(), &status).await?;
    match found {
        Ok(uri) => context.pings.run(&source, uri),
        Err(_) => {
            context.pings.stop(&key(&source));
            let wanted = serde_json::to_string(&source.spec.sink)?;
            context.events.warn(&*source, TELLER, "SinkNotFound", format!("Sink not found: {wanted}"));
        }
    }
    Ok(Action::await_change())
}

fn key(source: &PingSource) -> clock::Key {
    (source.namespace().unwrap_or_default(), source.name_any())
}

/// What Eventing's controller says, in its order: the sink first, and nothing of the rest without it.
fn status_of(source: &PingSource, sink: Result<&str, &sink::Missing>) -> PingSourceStatus {
    let unknown = |type_| Condition::new(type_, ConditionStatus::Unknown);
    let (deployed, identity, provided) = match sink {
        Ok(_) => (
            Condition::new("Deployed", ConditionStatus::True),
            Condition::new("OIDCIdentityCreated", ConditionStatus::True)
                .because("authentication-oidc feature disabled", ""),
            Condition::new("SinkProvided", ConditionStatus::True),
        ),
        Err(sink::Missing(message)) => (
            unknown("Deployed"),
            unknown("OIDCIdentityCreated"),
            Condition::new("SinkProvided", ConditionStatus::False).because("NotFound", message),
        ),
    };
    let ready = summary(&[&deployed, &identity, &provided]);
    let attributes = sink.is_ok().then(|| CloudEventAttributes {
        type_: PING_TYPE.into(),
        source: ping_source(&source.namespace().unwrap_or_default(), &source.name_any()),
    });
    PingSourceStatus {
        observed_generation: source.metadata.generation,
        conditions: vec![deployed, identity, ready, provided],
        sink_uri: sink.ok().map(str::to_owned),
        ce_attributes: attributes.into_iter().collect(),
        ..PingSourceStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sink_it_is_not_ready() {
        let missing = sink::Missing(String::new());
        let status = status_of(&PingSource::default(), Err(&missing));
        let said: Vec<_> = status
            .conditions
            .iter()
            .map(|condition| (condition.type_.as_str(), condition.status, condition.text()))
            .collect();
        let (no, unknown) = (ConditionStatus::False, ConditionStatus::Unknown);
        assert_eq!(
            said,
            [
                ("Deployed", unknown, String::new()),
                ("OIDCIdentityCreated", unknown, String::new()),
                ("Ready", no, "NotFound".to_owned()),
                ("SinkProvided", no, "NotFound".to_owned()),
            ]
        );
        assert!(status.sink_uri.is_none() && status.ce_attributes.is_empty());
    }
}
