//! `tm deploy service NAME -f SOURCE`: source to URL.

mod object;

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tm_resources::{
    condition::{Verdict, find, verdict},
    labels,
    serving::{Revision, Service},
};
use tokio::time::Instant;

use super::{Session, output};
use crate::{
    build::{self, Plan},
    cli::DeployService,
    error::HintExt,
    registry, runtime,
    settings::ServiceSettings,
    source::{self, Archive, Source},
    target::{Target, connect},
    wait::{Look, human, until},
};

/// How long a failure must last: a first False may be of the old Revision, or go away by itself (kn waits 2 s).
const ERROR_WINDOW: Duration = Duration::from_secs(5);
/// Characters of the source's digest that become the image's tag.
const TAG_LENGTH: usize = 12;

pub(super) async fn run(args: DeployService, session: Session) -> Result<()> {
    let settings = ServiceSettings::of(args)?;
    let interrupt = session.interrupt.clone();
    let found = interrupt.guard(source::find(&settings)).await?;
    let (image, run) = match found {
        Source::Image(reference) => (reference.to_string(), None),
        Source::Files { ref path, .. } => {
            let archive = interrupt.guard(pack(path.clone())).await?;
            let guessed = || source::guess_runtime(path).map(str::to_owned);
            let typed = settings.runtime.clone().map_or_else(guessed, Ok)?;
            let target = interrupt.guard(connect(&session.global, &session.printer)).await?;
            let plan = interrupt.guard(plan(&settings, &typed, &archive, &target, &session)).await?;
            if session.global.dry {
                output::object(&session, &build::object(&plan))?;
                session.printer.data("---");
                (plan.destination.push.clone(), Some(plan))
            } else {
                let built = build::run(&session, &target, &plan, &archive).await?;
                (built.image, Some(plan))
            }
        }
    };
    if settings.build_only {
        session.printer.data(&image);
        return Ok(());
    }
    let deploy = deploy(&settings, &image, run.as_ref(), &session);
    interrupt.guard(Box::pin(deploy)).await
}

async fn pack(path: std::path::PathBuf) -> Result<Archive> {
    tokio::task::spawn_blocking(move || source::pack(&path)).await.context("packing was ended")?
}

async fn plan(
    settings: &ServiceSettings,
    typed: &str,
    archive: &Archive,
    target: &Target,
    session: &Session,
) -> Result<Plan> {
    let runtime = runtime::resolve(typed, target, &session.printer).await?;
    let tag = &archive.sha256[..TAG_LENGTH];
    let destination = registry::destination(&session.global, target, &settings.name, tag).await?;
    build::plan(session, target, settings, runtime, destination).await
}

async fn deploy(
    settings: &ServiceSettings,
    image: &str,
    plan: Option<&Plan>,
    session: &Session,
) -> Result<()> {
    let target = connect(&session.global, &session.printer).await?;
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    let live = services.get_opt(&settings.name).await.context("failed to read the service")?;
    let runtime = plan.map(|plan| plan.runtime.as_str());
    let pull_secret = session.global.registry_secret.as_deref();
    let wanted = object::build(settings, &target.namespace, image, runtime, pull_secret, live.as_ref())?;
    if session.global.dry {
        return output::object(session, &wanted);
    }
    let params = PatchParams::apply(labels::tm::FIELD_MANAGER).force();
    let applied = services
        .patch(&settings.name, &params, &Patch::Apply(&wanted))
        .await
        .with_context(|| format!("the target refused the service `{}`", settings.name))?;
    if let Some(plan) = plan {
        adopt(&target, plan, &applied, session).await;
    }
    if !session.global.wait {
        let (namespace, name) = (&target.namespace, &settings.name);
        let line =
            format!("Deployment started. Run \"tm -n {namespace} describe service {name}\" to see details");
        session.printer.note(&line);
        return shown(&applied, session);
    }
    let ready = wait_ready(&services, settings, &applied, &target, session).await?;
    shown(&ready, session)
}

/// The object with `-o`, else the URL.
fn shown(service: &Service, session: &Session) -> Result<()> {
    if session.global.output.is_some() {
        return output::object(session, service);
    }
    if let Some(url) = service.status.as_ref().and_then(|status| status.url.as_ref()) {
        session.printer.note(&format!("Service {} URL:", service.name_any()));
        session.printer.data(url);
    }
    Ok(())
}

async fn adopt(target: &Target, plan: &Plan, service: &Service, session: &Session) {
    let owner = json!({
        "apiVersion": Service::api_version(&()), "kind": Service::kind(&()),
        "name": service.name_any(), "uid": service.uid().unwrap_or_default(),
    });
    if let Err(error) = build::adopt(target, plan, owner).await {
        session.printer.debug(&format!("{error:#}"));
    }
}

/// Waits until this generation is ready. A failure counts once it has lasted.
async fn wait_ready(
    services: &Api<Service>,
    settings: &ServiceSettings,
    applied: &Service,
    target: &Target,
    session: &Session,
) -> Result<Service> {
    let name = &settings.name;
    let step = session.printer.step(format!("Waiting for service \"{name}\" ready state"));
    let wanted = applied.metadata.generation;
    let deadline = Instant::now() + settings.wait_timeout;
    let mut failing_since: Option<Instant> = None;
    loop {
        // While it fails, the watch is left now and then to see how long that has been.
        let patience = failing_since.map_or(settings.wait_timeout, |since| {
            ERROR_WINDOW.saturating_sub(since.elapsed()).max(Duration::from_millis(50))
        });
        let left = deadline.saturating_duration_since(Instant::now()).min(patience);
        let mut failure = None;
        let result = until(services.clone(), name, left, "the service", |service| {
            let Some(service) = service else { return Ok(Look::Done(None)) };
            let status = service.status.clone().unwrap_or_default();
            match verdict(&status.conditions, "Ready", wanted, status.observed_generation) {
                Verdict::Ready => Ok(Look::Done(Some(service))),
                Verdict::Waiting(state) => {
                    failing_since = None;
                    step.state(&state);
                    Ok(Look::Waiting(state))
                }
                Verdict::Failed { reason, message } => {
                    failing_since.get_or_insert_with(Instant::now);
                    let text = format!("{reason}: {message}");
                    failure = Some(text.clone());
                    step.state(&text);
                    // Look again when the window is over.
                    if failing_since.is_some_and(|since| since.elapsed() >= ERROR_WINDOW) {
                        return Ok(Look::Done(None));
                    }
                    Ok(Look::Waiting(text))
                }
            }
        })
        .await;
        match result {
            Ok(Some(service)) => {
                step.done();
                return Ok(service);
            }
            Ok(None) if failure.is_none() => {
                anyhow::bail!("the service `{name}` was deleted while it was waited for")
            }
            Ok(None) => return Err(explain(settings, failure, target, session).await),
            Err(_) if failing_since.is_some_and(|since| since.elapsed() >= ERROR_WINDOW) => {
                return Err(explain(settings, failure, target, session).await);
            }
            Err(_) if failing_since.is_some() && Instant::now() < deadline => {}
            Err(error) => {
                let context =
                    format!("the service `{name}` was not ready within {}", human(settings.wait_timeout));
                return Err(error.context(context))
                    .hint("`tm logs` and `tm describe service` say more; --wait-timeout waits longer");
            }
        }
    }
}

/// Why the service is not ready: its condition, the newest Revision's, the end of its log.
async fn explain(
    settings: &ServiceSettings,
    failure: Option<String>,
    target: &Target,
    session: &Session,
) -> anyhow::Error {
    let mut reasons: Vec<String> = failure.into_iter().collect();
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    let revisions: Api<Revision> = Api::namespaced(target.client.clone(), &target.namespace);
    let newest = services.get(&settings.name).await.ok().and_then(|s| s.status?.latest_created_revision_name);
    if let Some(name) = newest {
        if let Ok(revision) = revisions.get(&name).await {
            let conditions = revision.status.unwrap_or_default().conditions;
            reasons.extend(
                find(&conditions, "Ready").map(|condition| format!("revision {name}: {}", condition.text())),
            );
        }
        show_log(&name, target, session).await;
    }
    reasons.dedup();
    let text = reasons.join("; ");
    let error: Result<()> =
        Err(anyhow::anyhow!(text).context(format!("the service `{}` did not become ready", settings.name)));
    let hint = format!("`tm describe service {}` shows all conditions", settings.name);
    error.hint(hint).expect_err("it is an error")
}

async fn show_log(revision: &str, target: &Target, session: &Session) {
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let selector = format!("{}={revision}", labels::serving::REVISION);
    let Ok(list) = pods.list(&ListParams::default().labels(&selector)).await else { return };
    for pod in list.items.iter().take(1) {
        let params = kube::api::LogParams { tail_lines: Some(20), ..Default::default() };
        if let Ok(text) = pods.logs(&pod.name_any(), &params).await
            && !text.is_empty()
        {
            session.printer.note(&format!("The end of the log of {}:", pod.name_any()));
            session.printer.note(text.trim_end());
        }
    }
}
