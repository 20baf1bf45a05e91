//! The request line of a call to the front.

use http::header::USER_AGENT;
use http::request::Parts;
use tm_lambda::headers;
use tm_lambda::invoke::Operation;

use crate::config::{Front, InvokeApi};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The function.
    Function,
    /// Whether the shim serves.
    Health,
    /// The Lambda Invoke API (HT-58).
    InvokeApi,
    /// Nothing that there is.
    Nothing,
}

// === impl Route ===

impl Route {
    pub(crate) fn of(parts: &Parts, config: &Front) -> Self {
        let path = parts.uri.path();
        if path == "/_/health" || is_probe(parts) {
            Self::Health
        } else if config.invoke_api != InvokeApi::Off && Operation::owns(path) {
            Self::InvokeApi
        } else if config.invokes_alone {
            Self::Nothing
        } else {
            Self::Function
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
    use crate::config::Config;

    fn route(path: &str, header: Option<(&str, &str)>) -> Route {
        route_in(&[], path, header)
    }

    fn route_in(variables: &[(&str, &str)], path: &str, header: Option<(&str, &str)>) -> Route {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let config = Config::read(variables, Vec::new()).unwrap();
        let mut request = Request::builder().uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        Route::of(&request.body(()).unwrap().into_parts().0, &config.front)
    }

    #[test]
    fn ht_58_request_lines() {
        let function = Route::Function;
        assert_eq!(route("/", None), function);
        assert_eq!(route("/any/path?x=1", Some(("user-agent", "curl/8"))), function);
        assert_eq!(route("/_/health", None), Route::Health);
        assert_eq!(route("/", Some(("K-Network-Probe", "queue"))), Route::Health);
        assert_eq!(route("/", Some(("User-Agent", "kube-probe/1.35"))), Route::Health);
        let invoke = "/2015-03-31/functions/x/invocations";
        assert_eq!(route(invoke, None), Route::InvokeApi);
        assert_eq!(route_in(&[("TM_INVOKE_API", "off")], invoke, None), function);
    }
}
