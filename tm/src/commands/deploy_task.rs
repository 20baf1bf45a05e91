//! `tm deploy task [NAME] -f FILE`: installs a runtime.

use anyhow::{Context, Result};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use tm_resources::{labels::tm::FIELD_MANAGER, tekton::Task};

use super::{Session, output};
use crate::{
    cli::DeployTask,
    error::HintExt,
    runtime::{builtin, load},
    settings::service_name,
    target::connect,
};

pub(super) async fn run(args: DeployTask, session: Session) -> Result<()> {
    let mut task = read(&args, &session).await?;
    let name = args.name.clone().or_else(|| task.metadata.name.clone());
    let name = name.context("the Task has no name").hint("name it: `tm deploy task NAME -f …`")?;
    task.metadata = kube::api::ObjectMeta {
        name: Some(service_name(&name)?),
        labels: task.metadata.labels.take(),
        annotations: task.metadata.annotations.take(),
        ..Default::default()
    };
    if session.global.dry {
        return output::object(&session, &task);
    }
    let target = connect(&session.global, &session.printer).await?;
    task.metadata.namespace = Some(target.namespace.clone());
    let tasks: Api<Task> = Api::namespaced(target.client.clone(), &target.namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let installed = tasks
        .patch(&name, &params, &Patch::Apply(&task))
        .await
        .with_context(|| format!("failed to install the Task `{name}`"))?;
    session.printer.note(&format!("Task installed: {}", installed.name_any()));
    if session.global.output.is_some() {
        output::object(&session, &installed)?;
    }
    Ok(())
}

/// A path or URL, or the name of a Task this project brings.
async fn read(args: &DeployTask, session: &Session) -> Result<Task> {
    if !std::path::Path::new(&args.file).exists()
        && let Some(found) = builtin(&args.file, &session.printer)?
    {
        let mut task = found.task;
        task.metadata.name = Some(args.file.clone());
        return Ok(task);
    }
    load(&args.file, &session.printer).await
}
