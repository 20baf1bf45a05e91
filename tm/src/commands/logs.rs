//! `tm logs NAME`: what the service's instances print. A snapshot, or on and on with `--follow`.

use std::{collections::HashSet, ops::ControlFlow, time::Duration};

use anyhow::{Context, Result};
use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    runtime::{WatchStreamExt, watcher},
};
use tm_resources::{labels, serving::Service};
use tokio::sync::mpsc;

use super::{Session, get::not_found};
use crate::{
    cli::{Kind, Logs},
    error::HintExt,
    settings::duration,
    target::connect,
};

/// Container of a function (Knative's default name).
const CONTAINER: &str = "user-container";
/// Lines on their way to the screen.
const LINES: usize = 1024;
/// Longest wait for a container that is being created.
const STARTING: Duration = Duration::from_secs(60);

pub(super) async fn run(args: Logs, session: Session) -> Result<()> {
    let since = args.since.as_deref().map(|text| duration("--since", text)).transpose()?;
    let target = connect(&session.global, &session.printer).await?;
    let services: Api<Service> = Api::namespaced(target.client.clone(), &target.namespace);
    let found = services.get_opt(&args.name).await.context("failed to look for the service")?;
    if found.is_none() {
        return Err(not_found(Kind::Service, &args.name, &target)).hint("`tm get services` lists them");
    }
    let pods: Api<Pod> = Api::namespaced(target.client.clone(), &target.namespace);
    let params = params(&args, since);
    let selector = format!("{}={}", labels::serving::SERVICE, args.name);
    if args.follow {
        return follow(pods, &selector, params, &session).await;
    }
    let list =
        pods.list(&ListParams::default().labels(&selector)).await.context("failed to list the instances")?;
    if list.items.is_empty() {
        session.printer.note(&format!("No instance of `{}` is running", args.name));
    }
    for pod in list {
        match pods.logs(&pod.name_any(), &params).await {
            Ok(text) => {
                if write(text.as_bytes(), &session)?.is_break() {
                    return Ok(());
                }
            }
            Err(error) => session.printer.warning(&format!("no log of {}: {error}", pod.name_any())),
        }
    }
    Ok(())
}

/// What is asked of the API server, which refuses less than a second and less than no lines: those become a second, and, as
/// with kubectl, all lines.
fn params(args: &Logs, since: Option<Duration>) -> LogParams {
    let seconds = |since: Duration| since.as_secs() + u64::from(since.subsec_nanos() > 0);
    LogParams {
        container: Some(CONTAINER.into()),
        follow: args.follow,
        since_seconds: since.and_then(|since| i64::try_from(seconds(since)).ok()),
        tail_lines: args.tail.filter(|lines| *lines >= 0),
        ..LogParams::default()
    }
}

fn write(bytes: &[u8], session: &Session) -> Result<ControlFlow<()>> {
    session.printer.raw(bytes).context("failed to write the log")
}

/// Follows every instance, also those that come later.
async fn follow(pods: Api<Pod>, selector: &str, params: LogParams, session: &Session) -> Result<()> {
    let config = watcher::Config::default().labels(selector);
    let mut changes = watcher(pods.clone(), config).default_backoff().applied_objects().boxed();
    let (lines_tx, mut lines_rx) = mpsc::channel::<String>(LINES);
    let mut known = HashSet::new();
    let mut readers = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Some(change) = changes.next() => {
                let Ok(pod) = change else { continue };
                if known.insert(pod.uid().unwrap_or_default()) {
                    readers.spawn(read(pods.clone(), pod.name_any(), params.clone(), lines_tx.clone()));
                }
            }
            Some(line) = lines_rx.recv() => {
                if write(format!("{line}\n").as_bytes(), session)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

async fn read(pods: Api<Pod>, pod: String, params: LogParams, lines: mpsc::Sender<String>) {
    let deadline = tokio::time::Instant::now() + STARTING;
    loop {
        match pods.log_stream(&pod, &params).await {
            Ok(stream) => {
                let mut stream = stream.lines();
                while let Some(Ok(line)) = stream.next().await {
                    if lines.send(line).await.is_err() {
                        return;
                    }
                }
                return;
            }
            Err(kube::Error::Api(status)) if status.code == 400 && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_api_server_takes() {
        let asked = |since: Option<u64>, tail| {
            let args = Logs { name: "a".into(), follow: false, since: None, tail };
            let params = params(&args, since.map(Duration::from_millis));
            (params.since_seconds, params.tail_lines)
        };
        assert_eq!(asked(None, None), (None, None));
        assert_eq!(asked(Some(500), Some(-1)), (Some(1), None));
        assert_eq!(asked(Some(1500), Some(0)), (Some(2), Some(0)));
        assert_eq!(asked(Some(2000), Some(7)), (Some(2), Some(7)));
    }
}
