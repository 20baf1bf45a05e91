//! `tm deploy service NAME -f SOURCE`: source to URL.

mod object;
mod ready;

use anyhow::{Context, Result};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tm_resources::{labels, serving::Service};

use super::{Session, output};
use crate::{
    build::{self, Plan},
    cli::DeployService,
    registry, runtime,
    settings::ServiceSettings,
    source::{self, Archive, Source},
    target::{Target, connect},
};

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
    let ready = ready::wait(&services, settings, &applied, &target, session).await?;
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
