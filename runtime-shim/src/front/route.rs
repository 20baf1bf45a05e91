//! The request line of a call to the front.

use http::header::USER_AGENT;
use http::request::Parts;
use tm_lambda::headers;

use crate::codec::Codec;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The function.
    Function(Codec),
    /// Whether the shim serves.
    Health,
    /// The Lambda Invoke API (HT-58), which is not served yet.
    InvokeApi,
}

const INVOKE_API: [&str; 3] = ["/2015-03-31/", "/2021-11-15/", "/2014-11-13/"];

// === impl Route ===

impl Route {
    pub(crate) fn of(parts: &Parts) -> Self {
        let path = parts.uri.path();
        if path == "/_/health" || is_probe(parts) {
            Self::Health
        } else if INVOKE_API.iter().any(|prefix| path.starts_with(prefix)) {
            Self::InvokeApi
        } else {
            Self::Function(Codec::Plain)
        }
    }
}

/// Probes must not invoke the function: it would be billed for them, and its failures would stop the pod.
fn is_probe(parts: &Parts) -> bool {
    let kubelet =
        parts.headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"kube-probe/"));
    kubelet || parts.headers.contains_key(headers::K_NETWORK_PROBE)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn route(path: &str, header: Option<(&str, &str)>) -> Route {
        let mut request = Request::builder().uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        Route::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn request_lines() {
        let function = Route::Function(Codec::Plain);
        assert_eq!(route("/", None), function);
        assert_eq!(route("/any/path?x=1", Some(("user-agent", "curl/8"))), function);
        assert_eq!(route("/_/health", None), Route::Health);
        assert_eq!(route("/", Some(("K-Network-Probe", "queue"))), Route::Health);
        assert_eq!(route("/", Some(("User-Agent", "kube-probe/1.35"))), Route::Health);
        assert_eq!(route("/2015-03-31/functions/x/invocations", None), Route::InvokeApi);
    }
}
