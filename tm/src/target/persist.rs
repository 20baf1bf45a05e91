//! Trying again what an API server that restarts, or a webhook that does, could not take. For the middle of a deploy, where giving up
//! would throw away what was built.

use std::{fmt::Debug, time::Duration};

use kube::{Api, Resource, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use crate::printer::Printer;

/// Tries of a request.
const ATTEMPTS: u32 = 6;
/// Pause before the second try, doubled each time: 15 s in all, as an API server that restarts is away for some seconds.
const PAUSE: Duration = Duration::from_millis(500);
/// No try begins later: an API server that takes requests and does not answer them is not waited for again and again.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks until there is an answer that does not pass. What is asked must be the same when it is asked twice.
///
/// # Errors
/// The last one.
pub(crate) async fn persist<T>(
    printer: &Printer,
    mut ask: impl AsyncFnMut() -> kube::Result<T>,
) -> kube::Result<T> {
    let start = Instant::now();
    for attempt in 1..ATTEMPTS {
        match ask().await {
            Err(error) if passes(&error) && start.elapsed() < LIMIT => {
                printer.debug(&format!("request {attempt} of {ATTEMPTS} failed: {error}"));
                if attempt == 1 {
                    printer.warning("the API server does not answer as it should; trying again");
                }
                sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
            }
            done => return done,
        }
    }
    ask().await
}

/// Creates an object with a name that nobody else thinks of: one that is there in a later try is that of an earlier one, of which
/// no answer came.
///
/// # Errors
/// As [`persist`].
pub(crate) async fn create<K>(printer: &Printer, api: &Api<K>, object: &K) -> kube::Result<K>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let mut first = true;
    persist(printer, async || {
        let again = !std::mem::take(&mut first);
        match api.create(&PostParams::default(), object).await {
            Err(kube::Error::Api(status)) if again && status.code == 409 => api.get(&name).await,
            done => done,
        }
    })
    .await
}

/// Whether the same request may well succeed a moment later: nobody answered, or somebody who is busy, starting, or lacks a webhook.
pub(crate) fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            let said = |words: &str| status.message.contains(words);
            matches!(status.code, 429 | 502 | 503 | 504)
                || status.code == 500 && (said("failed calling webhook") || said("etcdserver"))
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.into(), ..Status::failure("", "") }))
    }

    #[test]
    fn what_passes() {
        assert!(passes(&kube::Error::Service("Connection refused".into())));
        assert!(passes(&refusal(503, "apiserver is shutting down")));
        assert!(passes(&refusal(429, "too many requests")));
        assert!(passes(&refusal(500, "Internal error occurred: failed calling webhook \"w\": no endpoints")));
        for (code, message) in
            [(400, "bad"), (401, "Unauthorized"), (403, "exceeded quota"), (409, "conflict"), (500, "bug")]
        {
            assert!(!passes(&refusal(code, message)), "{code} {message}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_until_there_is_an_answer() {
        let printer = Printer::new(false);
        let mut asked = 0;
        let answer = persist(&printer, async || {
            asked += 1;
            if asked < 4 { Err(refusal(503, "starting")) } else { Ok("here") }
        });
        assert_eq!(answer.await.expect("it comes back"), "here");
        assert_eq!(asked, 4);
        let mut asked = 0;
        let answer: kube::Result<()> = persist(&printer, async || {
            asked += 1;
            Err(refusal(403, "no"))
        })
        .await;
        assert!(answer.is_err() && asked == 1, "a refusal is final");
        let mut asked = 0;
        let answer: kube::Result<()> = persist(&printer, async || {
            asked += 1;
            Err(kube::Error::Service("gone".into()))
        })
        .await;
        assert!(answer.is_err() && asked == ATTEMPTS, "not for ever");
        let mut asked = 0;
        let answer: kube::Result<()> = persist(&printer, async || {
            asked += 1;
            sleep(LIMIT).await;
            Err(kube::Error::Service("the API server did not answer".into()))
        })
        .await;
        assert!(answer.is_err() && asked == 1, "nor one that is deaf");
    }
}
