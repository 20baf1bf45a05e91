//! `tm version`: this program's version and, when the target answers, the server's.

use std::time::Duration;

use anyhow::Result;
use tm_engine::{engine::running, paths::Paths};
use tokio::time::timeout;

use super::Session;

/// The version of an unreachable server is not worth a long wait.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(session: &Session) -> Result<()> {
    session.printer.data(&format!("tm {}", env!("CARGO_PKG_VERSION")));
    // Asking for a version starts nothing.
    let cluster = session.global.config.is_some() || std::env::var_os("KUBECONFIG").is_some();
    if cluster {
        if let Ok(Ok(target)) =
            timeout(LIMIT, crate::target::connect(&session.global, &session.printer)).await
            && let Ok(Ok(info)) = timeout(LIMIT, target.client.apiserver_version()).await
        {
            session.printer.data(&format!("server {}", info.git_version));
        }
    } else if let Ok(paths) = Paths::from_env()
        && let Ok(Some(engine)) = running(&paths)
    {
        session.printer.data(&format!("engine {}", engine.version));
    }
    Ok(())
}
