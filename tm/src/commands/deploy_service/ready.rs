//! Waiting for a Service: until this generation is ready, or a failure has lasted, or the time is up.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tm_resources::{
    condition::{Verdict, find, verdict},
    labels,
    serving::{Revision, Service},
};
use tokio::time::{Instant, timeout_at};

use super::Session;
use crate::{error::HintExt, settings::ServiceSettings, target::Target, wait::human};

/// How long a failure must last: a first False may be of the old Revision, or go away by itself (kn waits 2 s).
const ERROR_WINDOW: Duration = Duration::from_secs(5);
/// Lines of a failing instance's log that are shown.
const LOG_LINES: i64 = 20;

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
            Err(_) => return timed_out(settings, &seen.state),
            Ok(None) => bail!("the watch of the service `{name}` ended"),
            Ok(Some(Err(error))) => seen.state = format!("the API server does not answer: {error}"),
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

fn timed_out(settings: &ServiceSettings, state: &str) -> Result<Service> {
    let limit = human(settings.wait_timeout);
    let text = format!("the service `{}` was not ready within {limit}", settings.name);
    Err(anyhow!(state.to_owned()).context(text))
        .hint("`tm logs` and `tm describe service` say more; --wait-timeout waits longer")
}

/// Why the service is not ready: its condition, the newest Revision's, the end of its log.
async fn explain(
    settings: &ServiceSettings,
    state: &str,
    target: &Target,
    session: &Session,
) -> anyhow::Error {
    let mut reasons = vec![state.to_owned()];
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    let revisions: Api<Revision> = Api::namespaced(target.client.clone(), &target.namespace);
    let newest = services.get(&settings.name).await.ok().and_then(|s| s.status?.latest_created_revision_name);
    if let Some(name) = newest {
        if let Ok(revision) = revisions.get(&name).await {
            let conditions = revision.status.unwrap_or_default().conditions;
            let ready = find(&conditions, "Ready").map(|condition| condition.text());
            reasons.extend(
                ready
                    .filter(|text| !state.contains(text.as_str()))
                    .map(|text| format!("revision {name}: {text}")),
            );
        }
        show_log(&name, target, session).await;
    }
    let text = format!("the service `{}` did not become ready", settings.name);
    let error: Result<()> = Err(anyhow!(reasons.join("; ")).context(text));
    let hint = format!("`tm describe service {}` shows all conditions", settings.name);
    error.hint(hint).expect_err("it is an error")
}

async fn show_log(revision: &str, target: &Target, session: &Session) {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let selector = format!("{}={revision}", labels::serving::REVISION);
    let Ok(list) = pods.list(&ListParams::default().labels(&selector)).await else { return };
    for pod in list.items.iter().take(1) {
        let params = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
        if let Ok(text) = pods.logs(&pod.name_any(), &params).await
            && !text.is_empty()
        {
            session.printer.note(&format!("The end of the log of {}:", pod.name_any()));
            session.printer.note(text.trim_end());
        }
    }
}
