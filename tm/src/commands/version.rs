//! `tm version`: this program's version and, when the target answers, the server's.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{Session, output};
use crate::{cli::Output, target::connect_running};

/// The version of an unreachable server is not worth a long wait.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(session: &Session) -> Result<()> {
    let mut versions = Map::from_iter([("tm".to_owned(), json!(env!("CARGO_PKG_VERSION")))]);
    match timeout(LIMIT, server(session)).await {
        Ok(Ok(Some(version))) => drop(versions.insert("server".into(), version)),
        Ok(Ok(None)) => session.printer.debug("no engine is running"),
        Ok(Err(error)) => session.printer.debug(&format!("no version of the server: {error:#}")),
        Err(_) => session.printer.debug("the server does not answer"),
    }
    if matches!(session.global.output, Some(Output::Json | Output::Yaml)) {
        return output::object(session, &Value::Object(versions));
    }
    for (name, version) in versions {
        session.printer.data(&format!("{name} {}", version.as_str().unwrap_or_default()));
    }
    Ok(())
}

/// The target's version; nothing where that is an engine which does not run: asking for a version starts nothing.
async fn server(session: &Session) -> Result<Option<Value>> {
    let Some(target) = connect_running(&session.global, &session.printer).await? else { return Ok(None) };
    Ok(Some(target.client.apiserver_version().await?.git_version.into()))
}
