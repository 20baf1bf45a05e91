//! `tm local start|stop|status|logs`.

use std::{io::Read, time::Duration};

use anyhow::{Context, Result};
use fs_err as fs;
use tm_engine::{engine::Running, paths::Paths};
use tokio::time::sleep;

use super::{Session, output};
use crate::{
    cli::{Local, LocalLogs, LocalStart, Output},
    error::HintExt,
    target::engine,
};

/// Pause between two looks at the log.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(args: Local, session: Session) -> Result<()> {
    let paths = Paths::from_env()?;
    match args {
        Local::Start(settings) => start(&paths, &settings, &session).await,
        Local::Stop => stop(&paths, &session).await,
        Local::Status => status(&paths, &session),
        Local::Logs(args) => logs(&paths, &args, &session).await,
    }
}

async fn start(paths: &Paths, settings: &LocalStart, session: &Session) -> Result<()> {
    if let Some(running) = engine::find(paths)? {
        session.printer.note(&format!("The engine is running already (pid {})", running.pid));
        return show(&running, session);
    }
    let running = engine::start(paths, settings, &session.printer).await?;
    session.printer.note(&format!("Engine started (pid {})", running.pid));
    show(&running, session)
}

async fn stop(paths: &Paths, session: &Session) -> Result<()> {
    let text = if engine::stop(paths).await? { "Engine stopped" } else { "No engine is running" };
    session.printer.note(text);
    Ok(())
}

fn status(paths: &Paths, session: &Session) -> Result<()> {
    match engine::find(paths)? {
        Some(running) => show(&running, session),
        None => Err(anyhow::anyhow!("no engine is running"))
            .hint("`tm local start` starts it, and so does any other command"),
    }
}

fn show(running: &Running, session: &Session) -> Result<()> {
    match session.global.output {
        Some(Output::Json) => session.printer.data(&serde_json::to_string_pretty(running)?),
        Some(Output::Yaml) => session.printer.data(&output::yaml(running)?),
        Some(Output::Name) => session.printer.data(&running.pid.to_string()),
        None => {
            let lines = [
                ("pid", running.pid.to_string()),
                ("version", running.version.clone()),
                ("functions", format!("http://{}", running.functions)),
                ("registry", format!("http://{}", running.registry)),
                ("kubectl", format!("https://{} (context tm-local)", running.api)),
                ("isolation", running.isolation.clone()),
            ];
            for (name, value) in lines {
                session.printer.data(&format!("{name:<10} {value}"));
            }
        }
    }
    Ok(())
}

async fn logs(paths: &Paths, args: &LocalLogs, session: &Session) -> Result<()> {
    let mut file = fs::File::open(paths.log())
        .context("there is no log yet")
        .hint("`tm local start` starts the engine")?;
    loop {
        let mut chunk = Vec::new();
        (&mut file).take(1 << 20).read_to_end(&mut chunk)?;
        if session.printer.raw(&chunk).context("failed to write the log")?.is_break() {
            return Ok(());
        }
        if chunk.is_empty() {
            if !args.follow {
                return Ok(());
            }
            sleep(LOOK).await;
            if let Some(fresh) = begun_anew(&file, paths) {
                file = fresh;
            }
        }
    }
}

/// The file that has taken the log's place since `file` was opened.
fn begun_anew(file: &fs::File, paths: &Paths) -> Option<fs::File> {
    use std::os::unix::fs::MetadataExt;
    let fresh = fs::File::open(paths.log()).ok()?;
    let inode = |file: &fs::File| file.metadata().map(|data| data.ino()).ok();
    (inode(&fresh) != inode(file)).then_some(fresh)
}
