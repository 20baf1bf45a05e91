//! What to do about an API server's refusal, for the refusals every command may meet.
//!
//! The conditions are Kubernetes' own words: reasons and messages of `Status` objects (API server, admission plugins and
//! webhooks) and of the TLS and HTTP layers below.

use kube::core::Status;

/// The next step for the first error of the chain that suggests one.
pub(super) fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|level| match level.downcast_ref::<kube::Error>()? {
        kube::Error::Api(status) => of_status(status),
        other => of_connection(&everything(other)),
    })
}

/// The text of an error and of all its sources.
fn everything(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

fn of_status(status: &Status) -> Option<String> {
    let said = |words: &str| status.message.contains(words);
    let hint = match status.code {
        400 if said("expected 0 <=") && said("imeoutSeconds") => {
            "an operator raises the limit to what was asked for, --timeout and 10 s for the answer: max-revision-timeout-seconds \
             in ConfigMap knative-serving/config-defaults, and the activator's terminationGracePeriodSeconds with it"
        }
        401 => "the credentials are wrong or expired: log in again, or choose another context with --context",
        403 if said("being terminated") => "wait until the namespace is gone, or choose another one with -n",
        403 if said("exceeded quota") => {
            "the namespace's quota is used up: delete something or have it raised"
        }
        403 if said("violates PodSecurity") => {
            "the namespace's Pod Security Standard forbids it; `tm doctor` says what has to be set"
        }
        403 => "an administrator can grant it: `tm setup --dry` prints the Role that users of tm need",
        404 if said("namespaces \"") => {
            "make the namespace with `kubectl create namespace`, or choose another one with -n"
        }
        404 if said("could not find the requested resource") || said("page not found") => {
            "the target lacks what this needs; `tm doctor` says what to install"
        }
        500 if said("failed calling webhook") => {
            "a webhook of the cluster does not answer: look at the pods in knative-serving and tekton-pipelines, \
             then try again"
        }
        429 | 503 | 504 => "the API server is busy or starting: try again in a moment",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn of_connection(text: &str) -> Option<String> {
    let said = |words: &str| text.contains(words);
    let hint = if said("UnknownIssuer") || said("self-signed") || said("CaUsedAsEndEntity") {
        "the API server's certificate is not signed by the kubeconfig's authority: set certificate-authority-data, and \
         see whether a proxy in between (HTTPS_PROXY) puts its own in"
    } else if said("NotValidForName") {
        "the API server's certificate is for another name: check `server` in the kubeconfig"
    } else if said("certificate expired") || said("Expired") {
        "a certificate has expired: renew the kubeconfig"
    } else if said("onnection refused") || said("timed out") || said("dns error") || said("lookup address") {
        "check that the cluster runs and that `server` in the kubeconfig is right; HTTPS_PROXY and NO_PROXY count too. \
         --context tm-local is the embedded engine"
    } else if said("proxy") {
        "check HTTPS_PROXY, and put the API server's host into NO_PROXY if it is near"
    } else if said("onnection closed") || said("onnection reset") || said("roken pipe") {
        "the API server, or a proxy in between, ended the connection: try again in a moment"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, message: &str) -> Option<String> {
        let status = Status { code, message: message.into(), ..Status::failure("", "") };
        let error = anyhow::Error::new(kube::Error::Api(Box::new(status))).context("failed to deploy");
        hint(&error)
    }

    #[test]
    fn refusals_and_what_to_do() {
        for (code, message, word) in [
            (401, "Unauthorized", "log in"),
            (
                400,
                "expected 0 <= 910 <= 600: spec.template.spec.timeoutSeconds",
                "max-revision-timeout-seconds",
            ),
            (403, "pods is forbidden: User \"u\" cannot list resource \"pods\"", "tm setup --dry"),
            (403, "unable to create new content in namespace a because it is being terminated", "-n"),
            (403, "exceeded quota: q, requested: pods=1", "quota"),
            (404, "namespaces \"x\" not found", "create namespace"),
            (404, "the server could not find the requested resource", "tm doctor"),
            (500, "failed calling webhook \"w\"", "webhook"),
            (503, "apiserver is shutting down", "again"),
        ] {
            let hint = refusal(code, message).unwrap_or_default();
            assert!(hint.contains(word), "{code} {message}: {hint}");
        }
        assert_eq!(refusal(409, "it exists"), None);
    }

    #[test]
    fn connections() {
        for (text, word) in [
            ("tcp connect error: Connection refused (os error 111)", "runs"),
            ("connection closed before message completed", "again"),
            ("Connection reset by peer (os error 104)", "again"),
            ("invalid peer certificate: UnknownIssuer", "certificate-authority-data"),
            ("invalid peer certificate: NotValidForName", "another name"),
        ] {
            assert!(of_connection(text).is_some_and(|hint| hint.contains(word)), "{text}");
        }
        assert_eq!(of_connection("something else"), None);
    }
}
