//! Waiting for a Service: until this generation is ready, or a failure has lasted, or the time is up.

mod pods;

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::StreamExt;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tm_resources::{
    condition::{Verdict, find, verdict},
    serving::{Revision, Service},
};
use tokio::time::{Instant, timeout_at};

use super::super::Session;
use crate::{
    error::HintExt,
    settings::ServiceSettings,
    target::Target,
    wait::{human, refusal},
};

/// How long a failure must last: a first False may be of the old Revision, or go away by itself (kn waits 2 s).
const ERROR_WINDOW: Duration = Duration::from_secs(5);

/// What was seen last.
struct Seen {
    state: String,
    failing_since: Option<Instant>,
}

/// Waits until the generation that was applied is ready.
pub(super) async fn wait(
    services: &Api<Service>,
    settings: &ServiceSettings,
    applied: &Service,
    target: &Target,
    session: &Session,
) -> Result<Service> {
    let name = &settings.name;
    let step = session.printer.step(format!("Waiting for service \"{name}\" ready state"));
    let deadline = Instant::now() + settings.wait_timeout;
    let mut seen = Seen { state: "nothing was heard of it".into(), failing_since: None };
    let mut objects = watch_object(services.clone(), name).default_backoff().boxed();
    loop {
        let until = seen.failing_since.map_or(deadline, |since| deadline.min(since + ERROR_WINDOW));
        match timeout_at(until, objects.next()).await {
            Err(_) if seen.failing_since.is_some() => {
                return Err(explain(settings, &seen.state, target, session).await);
            }
            Err(_) => return Err(timed_out(settings, &seen.state, target, session).await),
            Ok(None) => bail!("the watch of the service `{name}` ended"),
            Ok(Some(Err(error))) => match refusal(error) {
                Ok(refusal) => {
                    let text = format!("the service `{name}` was deployed, and cannot be followed");
                    return Err(anyhow::Error::new(refusal).context(text));
                }
                Err(error) => seen.state = format!("the API server does not answer: {error}"),
            },
            Ok(Some(Ok(None))) => bail!("the service `{name}` was deleted while it was waited for"),
            Ok(Some(Ok(Some(service)))) => {
                if seen.look(&service, applied.metadata.generation) {
                    step.done();
                    return Ok(service);
                }
                step.state(&seen.state);
            }
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Takes the object in; `true` when it is ready.
    fn look(&mut self, service: &Service, wanted: Option<i64>) -> bool {
        let status = service.status.clone().unwrap_or_default();
        match verdict(&status.conditions, "Ready", wanted, status.observed_generation) {
            Verdict::Ready => return true,
            Verdict::Waiting(state) => {
                self.failing_since = None;
                self.state = state;
            }
            Verdict::Failed { reason, message } => {
                self.failing_since.get_or_insert_with(Instant::now);
                self.state = format!("{reason}: {message}");
            }
        }
        false
    }
}

/// What is known when the time is up. Knative itself says of a container that crashes only when its own deadline is over.
async fn timed_out(
    settings: &ServiceSettings,
    state: &str,
    target: &Target,
    session: &Session,
) -> anyhow::Error {
    let limit = human(settings.wait_timeout);
    let text = format!("the service `{}` was not ready within {limit}", settings.name);
    let pods = match newest(settings, target).await {
        Some(revision) => pods::of(&revision, target).await,
        None => Vec::new(),
    };
    let held_up = pods::held_up(&pods);
    if let Some(pod) = pods.first() {
        pods::show_log(pod, target, session).await;
    }
    let hint = match &held_up {
        Some(why) if why.contains("ImagePull") => {
            "nodes must be able to pull the image: `tm set registry-auth` and --registry-secret give them the password of its registry"
        }
        _ => "`tm logs` and `tm describe service` say more; --wait-timeout waits longer",
    };
    let reasons = [Some(state.to_owned()), held_up].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let error: Result<()> = Err(anyhow!(reasons).context(text));
    error.hint(hint).expect_err("it is an error")
}

/// The Revision that is to become ready.
async fn newest(settings: &ServiceSettings, target: &Target) -> Option<String> {
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    services.get(&settings.name).await.ok()?.status?.latest_created_revision_name
}

/// Why the service is not ready: its condition, the newest Revision's, what its instances wait for, the end of their log.
async fn explain(
    settings: &ServiceSettings,
    state: &str,
    target: &Target,
    session: &Session,
) -> anyhow::Error {
    let mut reasons = vec![state.to_owned()];
    let revisions: Api<Revision> = Api::namespaced(target.client.clone(), &target.namespace);
    if let Some(name) = newest(settings, target).await {
        if let Ok(revision) = revisions.get(&name).await {
            let conditions = revision.status.unwrap_or_default().conditions;
            let ready = find(&conditions, "Ready").map(|condition| condition.text());
            reasons.extend(
                ready
                    .filter(|text| !state.contains(text.as_str()))
                    .map(|text| format!("revision {name}: {text}")),
            );
        }
        let pods = pods::of(&name, target).await;
        reasons.extend(pods::held_up(&pods));
        if let Some(pod) = pods.first() {
            pods::show_log(pod, target, session).await;
        }
    }
    let text = format!("the service `{}` did not become ready", settings.name);
    let error: Result<()> = Err(anyhow!(reasons.join("; ")).context(text));
    let hint = format!("`tm describe service {}` shows all conditions", settings.name);
    error.hint(hint).expect_err("it is an error")
}
