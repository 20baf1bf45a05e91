//! `tm deploy service NAME -f SOURCE`: source to URL.

mod object;
mod ready;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tm_resources::{labels, serving::Service};

pub(super) use object::ANSWER_GRACE;

use super::{Session, output};
use crate::{
    build::{self, Plan},
    cli::DeployService,
    error::{HintExt, Interrupted, InterruptedExt, next_step},
    registry, runtime,
    settings::ServiceSettings,
    source::{self, Archive, Source},
    target::{
        Target, connect,
        persist::{passes, persist},
    },
};

/// What an API server says of a dry run where a webhook has side effects.
const NO_DRY_RUN: &str = "does not support dry run";
/// Characters of the source's digest that become the image's tag.
const TAG_LENGTH: usize = 12;

pub(super) async fn run(args: DeployService, session: Session) -> Result<()> {
    let settings = ServiceSettings::of(args)?;
    let found = session.interrupt.guard(source::find(&settings)).await.interrupted_leaves(nothing)?;
    let (image, run) = match found {
        Source::Image(reference) => (reference.to_string(), None),
        Source::Files { ref path, .. } => {
            let prepared = session.interrupt.guard(Box::pin(prepare(&settings, path, &session))).await;
            let (archive, target, plan) = prepared.interrupted_leaves(nothing)?;
            let image = if session.global.dry {
                plan.destination.push.clone()
            } else {
                build::run(&session, &target, &plan, &archive).await?.image
            };
            (image, Some(plan))
        }
    };
    if session.global.dry {
        return Box::pin(dry(&settings, &image, run.as_ref(), &session)).await;
    }
    if settings.build_only {
        session.printer.data(&image);
        return Ok(());
    }
    Box::pin(deploy(&settings, &image, run.as_ref(), &session)).await
}

/// What Ctrl-C leaves before the build.
fn nothing() -> String {
    "nothing was built, no service was created or changed".into()
}

/// Everything before the build: the packed source, where it goes, what is to be done with it.
async fn prepare(
    settings: &ServiceSettings,
    path: &Path,
    session: &Session,
) -> Result<(Archive, Target, Plan)> {
    session.printer.debug(&format!("packing {}", path.display()));
    let archive = pack(path.to_owned()).await?;
    let guessed = || source::guess_runtime(path).map(str::to_owned);
    let typed = settings.runtime.clone().map_or_else(guessed, Ok)?;
    let target = connect(&session.global, &session.printer).await?;
    let plan = plan(settings, &typed, &archive, &target, session).await?;
    if !session.global.dry && !settings.build_only {
        check(settings, &target, &plan, session).await?;
    }
    Ok((archive, target, plan))
}

/// Asks the target to take the Service, without keeping it: what it refuses is better known before the build.
async fn check(settings: &ServiceSettings, target: &Target, plan: &Plan, session: &Session) -> Result<()> {
    let wanted = service(settings, &plan.destination.push, Some(plan), target, session).await?;
    let params = PatchParams::apply(labels::tm::FIELD_MANAGER).force().dry_run();
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    match services.patch(&settings.name, &params, &Patch::Apply(&wanted)).await {
        // A webhook of somebody else's with side effects: then it is known after the build.
        Err(kube::Error::Api(status)) if status.message.contains(NO_DRY_RUN) => Ok(()),
        checked => checked.map(drop).map_err(|error| not_taken(error, settings)),
    }
}

/// Says what the target did instead of taking the Service.
fn not_taken(error: kube::Error, settings: &ServiceSettings) -> anyhow::Error {
    let text = format!("the target {} the service `{}`", did(&error), settings.name);
    anyhow::Error::new(error).context(text)
}

async fn pack(path: PathBuf) -> Result<Archive> {
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

/// Prints what would be sent: the build of a source and, unless the build is all that is wanted, the Service.
async fn dry(settings: &ServiceSettings, image: &str, plan: Option<&Plan>, session: &Session) -> Result<()> {
    let mut objects = Vec::new();
    if let Some(plan) = plan {
        objects.push(serde_json::to_value(build::object(plan))?);
    }
    if !settings.build_only {
        let wanted = session.interrupt.guard(Box::pin(wanted(settings, image, plan, session))).await;
        let (_, service) = wanted.interrupted_leaves(nothing)?;
        objects.push(serde_json::to_value(service)?);
    }
    match objects.as_slice() {
        [one] => output::object(session, one),
        all => output::objects(session, all),
    }
}

async fn deploy(
    settings: &ServiceSettings,
    image: &str,
    plan: Option<&Plan>,
    session: &Session,
) -> Result<()> {
    let wanted = session.interrupt.guard(Box::pin(wanted(settings, image, plan, session))).await;
    let wanted =
        wanted.interrupted_leaves(|| format!("no service was created or changed; the image is {image}"));
    let (target, wanted) = stopped(wanted, settings, image, plan)?;
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    // Not given up by Ctrl-C: afterwards it is known whether the service was changed.
    let params = PatchParams::apply(labels::tm::FIELD_MANAGER).force();
    let applied = persist(&session.printer, async || {
        services.patch(&settings.name, &params, &Patch::Apply(&wanted)).await
    });
    let applied = applied.await.map_err(|error| not_taken(error, settings));
    let applied = stopped(applied, settings, image, plan)?;
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
    let wait = Box::pin(ready::wait(&services, settings, &applied, &target, session));
    let ready = session.interrupt.guard(wait).await.interrupted_leaves(|| goes_on(settings, &target))?;
    shown(&ready, session)
}

/// What a target did with an object that it does not have now.
fn did(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(_) if passes(error) => "was not able to take",
        kube::Error::Api(_) => "refused",
        _ => "could not be reached for",
    }
}

/// Says where a deploy stopped: what was built need not be built again.
fn stopped<T>(result: Result<T>, settings: &ServiceSettings, image: &str, plan: Option<&Plan>) -> Result<T> {
    let error = match result {
        Err(error) if plan.is_some() && !error.is::<Interrupted>() => error,
        other => return other,
    };
    let again = format!("the same command with `-f {image}` deploys it without another build");
    let hint = match next_step(&error) {
        Some(first) => format!("{first}; then {again}"),
        None => again,
    };
    let text = format!("the image {image} was built, but the service `{}` was not deployed", settings.name);
    Err(error.context(text)).hint(hint)
}

/// What Ctrl-C leaves while the service is waited for: it is the target's now, as with kn and kubectl.
fn goes_on(settings: &ServiceSettings, target: &Target) -> String {
    let (name, namespace) = (&settings.name, &target.namespace);
    format!(
        "the service `{name}` was deployed and goes on starting; `tm -n {namespace} describe service {name}` shows it, \
         `tm -n {namespace} delete service {name}` removes it"
    )
}

/// The Service as it should be, and where.
async fn wanted(
    settings: &ServiceSettings,
    image: &str,
    plan: Option<&Plan>,
    session: &Session,
) -> Result<(Target, Service)> {
    let target = connect(&session.global, &session.printer).await?;
    let wanted = service(settings, image, plan, &target, session).await?;
    Ok((target, wanted))
}

/// The Service as it should be, given what it is now.
async fn service(
    settings: &ServiceSettings,
    image: &str,
    plan: Option<&Plan>,
    target: &Target,
    session: &Session,
) -> Result<Service> {
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    let read = async || services.get_opt(&settings.name).await;
    // After a build, which must not be for nothing, an API server that is away for a moment is waited for.
    let live = if plan.is_some() { persist(&session.printer, read).await } else { read().await };
    let live = live.context("failed to read the service")?;
    let runtime = plan.map(|plan| plan.runtime.as_str());
    let pull_secret = session.global.registry_secret.as_deref();
    object::build(settings, &target.namespace, image, runtime, pull_secret, live.as_ref())
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

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn who_is_to_blame() {
        let answer = |code| kube::Error::Api(Box::new(Status { code, ..Status::failure("", "") }));
        assert_eq!(did(&answer(403)), "refused");
        assert_eq!(did(&answer(503)), "was not able to take");
        assert_eq!(did(&kube::Error::Service("Connection refused".into())), "could not be reached for");
    }
}
