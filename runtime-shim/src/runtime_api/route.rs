//! The request line of a Runtime API call.

use http::Method;
use tm_lambda::RequestId;
use tm_lambda::telemetry::Api;

/// What is called. An id that is no id cannot be anybody's, so it is only known to be wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Next,
    Response(Option<RequestId>),
    Error(Option<RequestId>),
    InitError,
    /// An extension registers.
    Register,
    /// An extension waits for an event.
    ExtensionNext,
    /// An extension's init failed.
    ExtensionInitError,
    /// An extension gives up.
    ExtensionExitError,
    /// A subscription to telemetry or logs.
    Subscribe(Api),
    /// The path is known, the method is not the one for it.
    WrongMethod,
    /// Also everything of SnapStart (RT-39).
    Unknown,
}

// === impl Route ===

impl Route {
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let Some(path) = path.strip_prefix("/2018-06-01/") else { return Self::of_extension(method, path) };
        let mut segments = path.split('/');
        let mut next = || segments.next();
        let (wanted, route) = match (next(), next(), next(), next(), next()) {
            (Some("ping"), None, ..) => (Method::GET, Self::Ping),
            (Some("runtime"), Some("invocation"), Some("next"), None, _) => (Method::GET, Self::Next),
            (Some("runtime"), Some("invocation"), Some(id), Some("response"), None) => {
                (Method::POST, Self::Response(RequestId::parse(id).ok()))
            }
            (Some("runtime"), Some("invocation"), Some(id), Some("error"), None) => {
                (Method::POST, Self::Error(RequestId::parse(id).ok()))
            }
            (Some("runtime"), Some("init"), Some("error"), None, _) => (Method::POST, Self::InitError),
            _ => return Self::Unknown,
        };
        if *method == wanted { route } else { Self::WrongMethod }
    }

    fn of_extension(method: &Method, path: &str) -> Self {
        let (wanted, route) = match path {
            "/2020-01-01/extension/register" => (Method::POST, Self::Register),
            "/2020-01-01/extension/event/next" => (Method::GET, Self::ExtensionNext),
            "/2020-01-01/extension/init/error" => (Method::POST, Self::ExtensionInitError),
            "/2020-01-01/extension/exit/error" => (Method::POST, Self::ExtensionExitError),
            "/2022-07-01/telemetry" | "/2022-07-01/telemetry/" => {
                (Method::PUT, Self::Subscribe(Api::Telemetry))
            }
            "/2020-08-15/logs" | "/2020-08-15/logs/" => (Method::PUT, Self::Subscribe(Api::Logs)),
            _ => return Self::Unknown,
        };
        if *method == wanted { route } else { Self::WrongMethod }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let id = RequestId::mint();
        let base = "/2018-06-01/runtime";
        for (method, path, route) in [
            (Method::GET, "/2018-06-01/ping".to_owned(), Route::Ping),
            (Method::GET, format!("{base}/invocation/next"), Route::Next),
            (Method::POST, format!("{base}/invocation/{id}/response"), Route::Response(Some(id))),
            (Method::POST, format!("{base}/invocation/{id}/error"), Route::Error(Some(id))),
            (Method::POST, format!("{base}/invocation//error"), Route::Error(None)),
            (Method::POST, format!("{base}/invocation/x/response"), Route::Response(None)),
            (Method::POST, format!("{base}/init/error"), Route::InitError),
            (Method::POST, format!("{base}/invocation/next"), Route::WrongMethod),
            (Method::GET, format!("{base}/invocation/{id}/error"), Route::WrongMethod),
            (Method::GET, format!("{base}/restore/next"), Route::Unknown),
            (Method::POST, "/2020-01-01/extension/register".to_owned(), Route::Register),
            (Method::GET, "/2020-01-01/extension/event/next".to_owned(), Route::ExtensionNext),
            (Method::POST, "/2020-01-01/extension/exit/error".to_owned(), Route::ExtensionExitError),
            (Method::POST, "/2020-01-01/extension/init/error".to_owned(), Route::ExtensionInitError),
            (Method::PUT, "/2022-07-01/telemetry".to_owned(), Route::Subscribe(Api::Telemetry)),
            (Method::GET, "/2020-08-15/logs".to_owned(), Route::WrongMethod),
            (Method::GET, "/2020-01-01/extension/x".to_owned(), Route::Unknown),
            (Method::GET, format!("{base}/invocation/next/"), Route::Unknown),
            (Method::GET, "/".to_owned(), Route::Unknown),
        ] {
            assert_eq!(Route::of(&method, &path), route, "{method} {path}");
        }
    }
}
