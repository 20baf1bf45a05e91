//! Sends the packed source into the build pod: `build-tasks unpack` by exec, the archive on its stdin.
//!
//! The receiver knows length and digest beforehand and says by its exit code whether everything arrived, so a broken
//! connection is simply tried again. The upload races a timer for progress and a watch of the pod: a pod that is deleted
//! meanwhile does not close the connection by itself. Its length has no limit as long as it moves.

use std::{io, pin::pin, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use futures::StreamExt;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::AttachParams,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::{
    printer::{Printer, Step},
    source::Archive,
    target::persist::persist,
};

/// Tries of an upload whose outcome is unknown.
const ATTEMPTS: u32 = 6;
/// Pause before the second try, doubled each time: an API server that restarts is away for some seconds.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time without any progress.
const STALL: Duration = Duration::from_secs(60);
/// How long the receiver has to look at what it got, from the last byte on.
const RESULT: Duration = Duration::from_secs(120);
/// How long the result, or the rest of the output, may still take on a connection that has no more to say.
const REST: Duration = Duration::from_secs(2);
/// Exit codes above are those of programs that a signal ended.
const KILLED: i32 = 128;
/// A pod's reason when its node threw it out.
const EVICTED: &str = "Evicted";
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
    /// Its node threw it out for what it used, which another pod would use, too.
    pub(crate) evicted: bool,
}

/// How one try ended.
enum Outcome {
    Done,
    /// The connection ended without a word about the result.
    Unknown(String),
    /// The API server did not let us into the container.
    Refused(Box<kube::core::Status>),
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
    let found = persist(printer, async || pods.get_metadata(&receiver.pod).await).await;
    let pod = found.context("the build pod cannot be found")?;
    let uid = pod.metadata.uid.unwrap_or_default();
    let work = attempts(pods, receiver, archive, printer);
    tokio::select! {
        biased;
        lost = lost(pods, receiver, &uid) => Err(lost.into()),
        ended = work => ended,
    }
}

async fn attempts(pods: &Api<Pod>, receiver: &Receiver, archive: &Archive, printer: &Printer) -> Result<()> {
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
            if arrived(pods, receiver).await {
                return Ok(());
            }
        }
        let step = printer.transfer(format!("Uploading the source to {}", receiver.pod), archive.length);
        match once(pods, receiver, archive, &step).await? {
            Outcome::Done => {
                step.done();
                return Ok(());
            }
            Outcome::Refused(status) if attempt == 0 && status.code < 500 && status.code != 429 => {
                return Err(anyhow!(kube::Error::Api(status)).context("the target refused the upload"));
            }
            Outcome::Refused(status) => last = status.message,
            Outcome::Unknown(why) => last = why,
        }
        drop(step);
        printer.debug(&format!("upload {} of {ATTEMPTS} broke off: {last}", attempt + 1));
    }
    bail!("the upload broke off {ATTEMPTS} times: {last}")
}

/// Whether the receiver has got everything: an earlier try may have arrived, whose result was lost. Nobody can be let into its
/// container then.
async fn arrived(pods: &Api<Pod>, receiver: &Receiver) -> bool {
    let Ok(Some(pod)) = pods.get_opt(&receiver.pod).await else { return false };
    let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    let status = statuses.into_iter().find(|status| status.name == receiver.container);
    status.and_then(|status| status.state?.terminated).is_some_and(|end| end.exit_code == 0)
}

/// Resolves when the pod of that UID cannot take the upload any more.
async fn lost(pods: &Api<Pod>, receiver: &Receiver, uid: &str) -> PodLost {
    let mut looks = watch_object(pods.clone(), &receiver.pod).default_backoff().boxed();
    while let Some(look) = looks.next().await {
        // The watch tries again by itself after an error.
        if let Ok(pod) = look
            && let Some((why, evicted)) = end_of(pod, uid)
        {
            return PodLost { pod: receiver.pod.clone(), why, evicted };
        }
    }
    std::future::pending().await
}

/// Why the pod of that UID takes nothing any more, and whether it was evicted.
fn end_of(pod: Option<Pod>, uid: &str) -> Option<(String, bool)> {
    let Some(pod) = pod else { return Some(("it was deleted".into(), false)) };
    if pod.metadata.uid.as_deref() != Some(uid) {
        return Some(("it was replaced".into(), false));
    }
    let status = pod.status.unwrap_or_default();
    let evicted = status.reason.as_deref() == Some(EVICTED);
    if pod.metadata.deletion_timestamp.is_some() && !evicted {
        return Some(("it is being deleted".into(), false));
    }
    if status.phase.as_deref() == Some("Failed") {
        let words: Vec<String> = [status.reason, status.message].into_iter().flatten().collect();
        return Some((words.join(": "), evicted));
    }
    None
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
        Err(kube::Error::Api(status)) => return Ok(Outcome::Refused(status)),
        Err(error) => return Ok(Outcome::Unknown(error.to_string())),
    };
    let stdin = process.stdin().context("the upload has no input")?;
    let stdout = process.stdout().context("the upload has no output")?;
    let stderr = process.stderr().context("the upload has no error output")?;
    let status = process.take_status().context("the upload has no status")?;
    let (mut ignored, mut said) = (Vec::new(), Vec::new());
    let answer = {
        let mut reading = pin!(async { tokio::join!(read(stdout, &mut ignored), read(stderr, &mut said)) });
        let mut talk = pin!(talk(send(stdin, archive, step), status));
        let mut open = true;
        let answer = loop {
            tokio::select! {
                answer = &mut talk => break answer,
                _ = &mut reading, if open => open = false,
            }
        };
        if open {
            // A connection that broke never ends its output.
            let _ = timeout(REST, reading).await;
        }
        answer
    };
    process.abort();
    match answer {
        Ok(status) => judge(&status, String::from_utf8_lossy(&said).trim()),
        Err(why) => Ok(Outcome::Unknown(why)),
    }
}

/// Sends everything and waits for the result, which may come before, when the receiver refuses. An error says why there is
/// none.
async fn talk(
    send: impl Future<Output = io::Result<()>>,
    status: impl Future<Output = Option<Status>>,
) -> Result<Status, String> {
    let mut status = pin!(status);
    let sent = tokio::select! {
        biased;
        status = &mut status => return status.ok_or_else(|| "the connection broke".into()),
        sent = send => sent,
    };
    // Where it could not be sent, a refusal may be on its way.
    let limit = if sent.is_ok() { RESULT } else { REST };
    let came = timeout(limit, status).await;
    let why = || sent.err().map_or_else(|| "no result came back".into(), |error| error.to_string());
    came.ok().flatten().ok_or_else(why)
}

async fn send(mut stdin: impl AsyncWrite + Unpin, archive: &Archive, step: &Step) -> io::Result<()> {
    let mut source = archive.reader()?;
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    loop {
        let count = source.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        let written = timeout(STALL, stdin.write_all(&chunk[..count])).await;
        written.map_err(|_| io::Error::other("nothing moved for a minute"))??;
        sent += count as u64;
        step.position(sent);
    }
    // Dropping the writer is no end of file: without this the receiver would wait for ever.
    stdin.shutdown().await
}

async fn read(from: impl AsyncRead + Unpin, into: &mut Vec<u8>) {
    let mut limited = from.take(OUTPUT_LIMIT);
    let _ = limited.read_to_end(into).await;
    // What is beyond the limit must be read all the same, or the receiver would block.
    let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
}

fn judge(status: &Status, said: &str) -> Result<Outcome> {
    if status.status.as_deref() == Some("Success") {
        return Ok(Outcome::Done);
    }
    let message = status.message.clone().unwrap_or_default();
    match exit_code(status) {
        // Where the node could not be asked, or has no such container any more, the API server says so in the place of a result.
        None => return Ok(Outcome::Unknown(message)),
        // It was killed, with its pod in all likelihood, of which more will be heard.
        Some(code) if code > KILLED => return Ok(Outcome::Unknown(message)),
        Some(_) => {}
    }
    let why = if said.is_empty() { message } else { said.to_owned() };
    Err(anyhow!(why).context("the build pod refused the source"))
}

/// The code of a program that did not end with 0 (client-go's remotecommand).
fn exit_code(status: &Status) -> Option<i32> {
    if status.reason.as_deref() != Some("NonZeroExitCode") {
        return None;
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref()).into_iter().flatten();
    let code = causes.into_iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    code?.message.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn success() -> Status {
        Status { status: Some("Success".into()), ..Status::default() }
    }

    async fn after<T>(seconds: u64, value: T) -> T {
        sleep(Duration::from_secs(seconds)).await;
        value
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_takes_the_time_it_takes() {
        let ended = talk(after(3600, Ok(())), after(3601, Some(success()))).await;
        assert_eq!(ended, Ok(success()));
    }

    #[test]
    fn pods_that_are_lost() {
        let end = |metadata: serde_json::Value, status: serde_json::Value| {
            let pod = json!({"metadata": metadata, "status": status});
            end_of(Some(serde_json::from_value(pod).expect("it is a pod")), "u")
        };
        let runs = json!({"phase": "Running"});
        assert_eq!(end(json!({"uid": "u"}), runs.clone()), None);
        assert_eq!(end(json!({"uid": "v"}), runs.clone()), Some(("it was replaced".into(), false)));
        let leaving = json!({"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(end(leaving, runs), Some(("it is being deleted".into(), false)));
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on resource"});
        assert_eq!(end(json!({"uid": "u"}), evicted), Some(("Evicted: low on resource".into(), true)));
        assert_eq!(end_of(None, "u"), Some(("it was deleted".into(), false)));
    }

    #[test]
    fn only_the_receivers_own_words_are_final() {
        let gone = "unable to upgrade connection: container not found (\"step-sources-receiver\")";
        let refused = json!({"status": "Failure", "reason": "InternalError", "message": gone});
        let refused = serde_json::from_value(refused).expect("it is a status");
        assert!(matches!(judge(&refused, ""), Ok(Outcome::Unknown(why)) if why == gone));
        let ended = |code: i32| {
            let ended = json!({
                "status": "Failure", "reason": "NonZeroExitCode", "message": format!("command terminated with {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            });
            judge(&serde_json::from_value(ended).expect("it is a status"), "not a tar")
        };
        let error = ended(5).err().expect("it is final");
        assert_eq!(format!("{error:#}"), "the build pod refused the source: not a tar");
        assert!(matches!(ended(137), Ok(Outcome::Unknown(why)) if why == "command terminated with 137"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_ends_it_at_any_time() {
        assert_eq!(talk(pending(), after(1, Some(success()))).await, Ok(success()), "a refusal");
        assert_eq!(talk(pending(), after(1, None)).await, Err("the connection broke".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_that_does_not_come_is_waited_for_with_a_limit() {
        let start = Instant::now();
        assert_eq!(talk(ready(Ok(())), pending()).await, Err("no result came back".into()));
        assert_eq!(start.elapsed(), RESULT);
        let failed = Err(io::Error::other("nothing moved for a minute"));
        assert_eq!(talk(ready(failed), pending()).await, Err("nothing moved for a minute".into()));
        assert_eq!(start.elapsed(), RESULT + REST);
    }
}
