//! Sends the packed source into the build pod: `build-tasks unpack` by exec, the archive on its stdin.
//!
//! The receiver knows length and digest beforehand and says by its exit code whether everything arrived, so a broken
//! connection is simply tried again. The upload races a timer for progress and a watch of the pod: a pod that is deleted
//! meanwhile does not close the connection by itself.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::AttachParams,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    printer::{Printer, Step},
    source::Archive,
};

/// Tries of an upload whose outcome is unknown.
const ATTEMPTS: usize = 3;
/// Longest time without any progress.
const STALL: Duration = Duration::from_secs(60);
/// Bytes written at a time.
const CHUNK: usize = 256 << 10;
/// What is kept of the receiver's output.
const OUTPUT_LIMIT: u64 = 64 << 10;

/// Where the source goes.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// Pod of the TaskRun.
    pub(crate) pod: String,
    /// Container of the receiving step.
    pub(crate) container: String,
    /// The command: `build-tasks unpack …` without digest and length.
    pub(crate) command: Vec<String>,
}

/// The build pod went away in the middle of the upload: deleted, evicted, or its node died.
#[derive(Debug, thiserror::Error)]
#[error("the build pod {pod} was lost during the upload: {why}")]
pub(crate) struct PodLost {
    pod: String,
    why: String,
}

/// How one try ended.
enum Outcome {
    Done,
    /// The connection ended without a word about the result.
    Unknown(String),
}

/// Uploads, trying again what broke.
///
/// # Errors
/// [`PodLost`] when the pod goes away; else when the receiver refuses the source or the connection keeps breaking.
pub(crate) async fn upload(
    pods: &Api<Pod>,
    receiver: &Receiver,
    archive: &Archive,
    printer: &Printer,
) -> Result<()> {
    let pod = pods.get_metadata(&receiver.pod).await.context("the build pod cannot be found")?;
    let uid = pod.metadata.uid.unwrap_or_default();
    let mut last = String::new();
    for attempt in 1..=ATTEMPTS {
        let step = printer.transfer(format!("Uploading the source to {}", receiver.pod), archive.length);
        let ended = tokio::select! {
            biased;
            why = lost(pods, receiver, &uid) => return Err(PodLost { pod: receiver.pod.clone(), why }.into()),
            ended = once(pods, receiver, archive, &step) => ended?,
        };
        match ended {
            Outcome::Done => {
                step.done();
                return Ok(());
            }
            Outcome::Unknown(why) => {
                drop(step);
                printer.debug(&format!("upload {attempt} of {ATTEMPTS} broke off: {why}"));
                last = why;
            }
        }
    }
    bail!("the upload broke off {ATTEMPTS} times: {last}")
}

/// Resolves with a reason when the pod of that UID cannot take the upload any more.
async fn lost(pods: &Api<Pod>, receiver: &Receiver, uid: &str) -> String {
    let mut looks = watch_object(pods.clone(), &receiver.pod).default_backoff().boxed();
    while let Some(look) = looks.next().await {
        match look {
            Ok(None) => return "it was deleted".into(),
            Ok(Some(pod)) if pod.metadata.uid.as_deref() != Some(uid) => return "it was replaced".into(),
            Ok(Some(pod)) if pod.metadata.deletion_timestamp.is_some() => {
                return "it is being deleted".into();
            }
            Ok(Some(pod)) => {
                let status = pod.status.unwrap_or_default();
                if status.phase.as_deref() == Some("Failed") {
                    let words = [status.reason, status.message].into_iter().flatten();
                    return words.collect::<Vec<_>>().join(": ");
                }
            }
            // The watch tries again by itself.
            Err(_) => {}
        }
    }
    std::future::pending().await
}

async fn once(pods: &Api<Pod>, receiver: &Receiver, archive: &Archive, step: &Step) -> Result<Outcome> {
    let mut command = receiver.command.clone();
    command.extend(["--sha256".into(), archive.sha256.clone(), "--bytes".into(), archive.length.to_string()]);
    let params = AttachParams::default()
        .container(&receiver.container)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .max_stdin_buf_size(1 << 20);
    let mut process = match pods.exec(&receiver.pod, command, &params).await {
        Ok(process) => process,
        Err(error @ kube::Error::Api(_)) => {
            return Err(anyhow::Error::new(error).context("the target refused the upload"));
        }
        Err(error) => return Ok(Outcome::Unknown(error.to_string())),
    };
    let mut stdin = process.stdin().context("the upload has no input")?;
    let stdout = process.stdout().context("the upload has no output")?;
    let stderr = process.stderr().context("the upload has no error output")?;
    let status = process.take_status().context("the upload has no status")?;
    let send = async {
        let mut source = archive.reader()?;
        let mut chunk = vec![0; CHUNK];
        let mut sent = 0;
        loop {
            let count = source.read(&mut chunk).await?;
            if count == 0 {
                break;
            }
            let written = timeout(STALL, stdin.write_all(&chunk[..count])).await;
            written.map_err(|_| std::io::Error::other("nothing moved for a minute"))??;
            sent += count as u64;
            step.position(sent);
        }
        // Dropping the writer is no end of file: without this the receiver would wait for ever.
        stdin.shutdown().await
    };
    let (sent, _, said, status) = tokio::join!(send, read(stdout), read(stderr), timeout(STALL * 2, status));
    process.abort();
    match status {
        Ok(Some(status)) => judge(&status, &said),
        Ok(None) => {
            Ok(Outcome::Unknown(sent.err().map_or_else(|| "no result came back".into(), |e| e.to_string())))
        }
        Err(_) => Ok(Outcome::Unknown("no result came back in time".into())),
    }
}

async fn read(from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let mut limited = from.take(OUTPUT_LIMIT);
    let _ = limited.read_to_end(&mut bytes).await;
    // What is beyond the limit must be read all the same, or the receiver would block.
    let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn judge(status: &Status, said: &str) -> Result<Outcome> {
    if status.status.as_deref() == Some("Success") {
        return Ok(Outcome::Done);
    }
    let message = status.message.clone().unwrap_or_default();
    let why = if said.is_empty() { message } else { said.to_owned() };
    Err(anyhow::anyhow!(why).context("the build pod refused the source"))
}
