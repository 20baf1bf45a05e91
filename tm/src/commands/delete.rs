//! `tm delete KIND NAME…`: each of them, whatever becomes of the others.

use anyhow::{Context, Result};
use kube::api::DeleteParams;

use super::{
    Session,
    get::{api, not_found},
};
use crate::{
    cli::Delete,
    error::{HintExt, chain},
    target::{Target, connect},
};

pub(super) async fn run(args: Delete, session: Session) -> Result<()> {
    let target = connect(&session.global, &session.printer).await?;
    let mut failure = None;
    for name in &args.names {
        if let Err(error) = delete(&args, name, &target, &session).await
            && let Some(earlier) = failure.replace(error)
        {
            session.printer.error(&chain(&earlier));
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn delete(args: &Delete, name: &str, target: &Target, session: &Session) -> Result<()> {
    let word = args.kind.word();
    let dry_run = session.global.dry;
    let params = DeleteParams { dry_run, ..DeleteParams::background() };
    match api(args.kind, target, false).delete(name, &params).await {
        Ok(_) => {
            let how = if dry_run { " (dry run)" } else { "" };
            session.printer.note(&format!("{word} \"{name}\" deleted{how}"));
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Err(not_found(args.kind, name, target))
            .hint(format!("`tm get {}` lists them", args.kind.plural())),
        Err(error) => Err(error).with_context(|| format!("failed to delete {word} `{name}`")),
    }
}
