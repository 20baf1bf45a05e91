//! `tm logs NAME`: what the service's instances print. A snapshot, or on and on with `--follow`.

use std::{collections::HashSet, ops::ControlFlow, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    runtime::{WatchStreamExt, watcher},
};
use tm_resources::{labels, serving::Service};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{Session, get::not_found};
use crate::{
    cli::{Kind, Logs},
    error::{HintExt, chain},
    settings::duration,
    target::connect,
};

/// Knative's own container beside the function's.
const QUEUE_PROXY: &str = "queue-proxy";
/// Lines on their way to the screen.
const LINES: usize = 1024;
/// Longest wait for a container that is being created.
const STARTING: Duration = Duration::from_secs(60);
/// Pause before it is asked again.
const LOOK: Duration = Duration::from_millis(200);

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
    let mut failed = 0;
    for pod in &list {
        match pods.logs(&pod.name_any(), &of_function(pod, &params)).await {
            Ok(text) => {
                if write(text.as_bytes(), &session)?.is_break() {
                    return Ok(());
                }
            }
            Err(error) => {
                failed += 1;
                session.printer.warning(&no_log(pod, error));
            }
        }
    }
    ensure!(failed == 0 || failed < list.items.len(), "no log of `{}` could be read", args.name);
    Ok(())
}

/// The container that serves: the one with a port, else the first, but not Knative's own.
pub(super) fn function_container(pod: &Pod) -> Option<&str> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let mut theirs = containers.iter().filter(|container| container.name != QUEUE_PROXY);
    let serving =
        theirs.clone().find(|container| container.ports.as_ref().is_some_and(|ports| !ports.is_empty()));
    serving.or_else(|| theirs.next()).map(|container| container.name.as_str())
}

fn of_function(pod: &Pod, params: &LogParams) -> LogParams {
    LogParams { container: function_container(pod).map(str::to_owned), ..params.clone() }
}

fn no_log(pod: &Pod, error: kube::Error) -> String {
    format!("no log of {}: {}", pod.name_any(), chain(&error.into()))
}

/// What is asked of the API server, which refuses less than a second and less than no lines: those become a second, and, as
/// with kubectl, all lines.
fn params(args: &Logs, since: Option<Duration>) -> LogParams {
    let seconds = |since: Duration| since.as_secs() + u64::from(since.subsec_nanos() > 0);
    LogParams {
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
                    let params = of_function(&pod, &params);
                    readers.spawn(read(pods.clone(), pod, params, lines_tx.clone()));
                }
            }
            Some(ended) = readers.join_next() => if let Ok(Err(refused)) = ended {
                session.printer.warning(&refused);
            },
            Some(line) = lines_rx.recv() => {
                if write(format!("{line}\n").as_bytes(), session)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// Reads the log of one instance to its end. The error is a text for people.
async fn read(
    pods: Api<Pod>,
    pod: Pod,
    params: LogParams,
    lines: mpsc::Sender<String>,
) -> Result<(), String> {
    let deadline = Instant::now() + STARTING;
    loop {
        match pods.log_stream(&pod.name_any(), &params).await {
            Ok(stream) => {
                let mut stream = stream.lines();
                while let Some(Ok(line)) = stream.next().await {
                    if lines.send(line).await.is_err() {
                        break;
                    }
                }
                return Ok(());
            }
            // It is being created.
            Err(kube::Error::Api(status)) if status.code == 400 && Instant::now() < deadline => {
                sleep(LOOK).await;
            }
            // It is gone already.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(no_log(&pod, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_that_serves() {
        let of = |containers: serde_json::Value| {
            let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": containers}}))
                .expect("a pod");
            function_container(&pod).map(str::to_owned)
        };
        let ports = serde_json::json!([{"containerPort": 8080}]);
        let queue = serde_json::json!({"name": "queue-proxy", "ports": ports});
        let (one, two) =
            (serde_json::json!({"name": "one"}), serde_json::json!({"name": "two", "ports": ports}));
        assert_eq!(of(serde_json::json!([queue, one, two])).as_deref(), Some("two"));
        assert_eq!(of(serde_json::json!([one, queue])).as_deref(), Some("one"));
        assert_eq!(of(serde_json::json!([queue])), None);
    }

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
