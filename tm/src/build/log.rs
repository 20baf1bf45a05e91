//! The build's log: followed step by step, its newest line beside the running step, shown whole when the build fails.

use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use tm_resources::tekton::TaskRunStatus;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    printer::{CollapsedLog, Printer, Step},
    target::persist::passes,
};

/// Lines on their way from the API to the screen.
const LINES: usize = 1024;
/// How long the rest of a log is read after the end of the build.
const REST: Duration = Duration::from_secs(5);
/// Pause before a step that has not begun is asked for its log again.
const RETRY: Duration = Duration::from_millis(50);
/// Pause before an API server that went away is asked again; the end of the build ends that, too.
const OUTAGE: Duration = Duration::from_secs(1);

/// Collects what the steps print.
pub(super) struct BuildLog {
    pods: Api<Pod>,
    kept: CollapsedLog,
}

// === impl BuildLog ===

impl BuildLog {
    pub(super) fn new(printer: Printer, pods: Api<Pod>) -> Self {
        Self { pods, kept: printer.collapsed_log() }
    }

    /// Follows the containers, in order, while `work` runs; then reads what is left.
    pub(super) async fn while_running<T>(
        &mut self,
        pod: &str,
        containers: &[String],
        step: &Step,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (lines_tx, mut lines_rx) = mpsc::channel(LINES);
        let reader = follow_all(self.pods.clone(), pod.to_owned(), containers.to_vec(), lines_tx);
        let mut reader = std::pin::pin!(reader);
        let mut work = std::pin::pin!(work);
        let mut reading = true;
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                () = &mut reader, if reading => reading = false,
                Some(line) = lines_rx.recv() => {
                    step.log(&line);
                    self.kept.push(line);
                }
            }
        };
        if reading {
            let rest = async {
                loop {
                    tokio::select! {
                        () = &mut reader => break,
                        Some(line) = lines_rx.recv() => self.kept.push(line),
                    }
                }
            };
            let _ = timeout(REST, rest).await;
        }
        while let Ok(line) = lines_rx.try_recv() {
            self.kept.push(line);
        }
        result
    }

    /// The error of a failed build; its log is shown.
    pub(super) async fn explain(&mut self, status: &TaskRunStatus, failure: &str) -> anyhow::Error {
        let failed =
            status.steps.iter().find(|step| step.terminated.as_ref().is_some_and(|end| end.exit_code != 0));
        if self.kept.is_empty()
            && let (Some(pod), Some(step)) = (&status.pod_name, failed)
        {
            let params = LogParams { container: Some(step.container.clone()), ..LogParams::default() };
            match self.pods.logs(pod, &params).await {
                Ok(text) => text.lines().for_each(|line| self.kept.push(line.to_owned())),
                Err(error) => {
                    self.kept.push(format!("(the log of step {} cannot be read: {error})", step.name))
                }
            }
        }
        self.kept.reveal();
        let place = failed.map_or_else(String::new, |step| format!(" in step `{}`", step.name));
        anyhow!("{failure}").context(format!("the build failed{place}"))
    }
}

async fn follow_all(pods: Api<Pod>, pod: String, containers: Vec<String>, lines: mpsc::Sender<String>) {
    for container in containers {
        if follow_one(&pods, &pod, &container, &lines).await.is_err() {
            return;
        }
    }
}

/// Follows one container to its end. A container that has not begun is asked again: in a pod of Tekton's all begin
/// together, in the engine's one after the other. A log that breaks off is asked for again, and goes on after what was had of it.
/// An error means that nobody reads any more.
async fn follow_one(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    lines: &mpsc::Sender<String>,
) -> Result<(), ()> {
    let params = LogParams { container: Some(container.into()), follow: true, ..LogParams::default() };
    let mut had = 0;
    loop {
        match pods.log_stream(pod, &params).await {
            Ok(stream) => {
                let mut stream = stream.lines().skip(had);
                loop {
                    match stream.next().await {
                        Some(Ok(line)) => lines.send(line).await.map_err(drop)?,
                        Some(Err(_)) => break,
                        None => return Ok(()),
                    }
                    had += 1;
                }
                tokio::time::sleep(OUTAGE).await;
            }
            Err(kube::Error::Api(status)) if status.code == 400 => tokio::time::sleep(RETRY).await,
            Err(error) if passes(&error) => tokio::time::sleep(OUTAGE).await,
            Err(_) => return Err(()),
        }
    }
}
