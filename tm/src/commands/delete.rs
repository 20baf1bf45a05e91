//! `tm delete KIND NAME…`.

use anyhow::{Context, Result};
use kube::api::DeleteParams;

use super::{
    Session,
    get::{api, not_found},
};
use crate::{cli::Delete, error::HintExt, target::connect};

pub(super) async fn run(args: Delete, session: Session) -> Result<()> {
    let target = connect(&session.global, &session.printer).await?;
    let api = api(args.kind, &target, false);
    let word = args.kind.word();
    for name in &args.names {
        let params = DeleteParams { dry_run: session.global.dry, ..DeleteParams::background() };
        match api.delete(name, &params).await {
            Ok(_) => session.printer.note(&format!("{word} \"{name}\" deleted")),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(not_found(args.kind, name, &target))
                    .hint(format!("`tm get {}` lists them", args.kind.plural()));
            }
            Err(error) => return Err(error).with_context(|| format!("failed to delete {word} `{name}`")),
        }
    }
    Ok(())
}
