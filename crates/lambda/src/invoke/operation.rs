//! The request line and the enumerations of the Invoke API.

use http::Method;
use percent_encoding::percent_decode_str;

use super::error::InvokeError;
use crate::limits::{MAX_ASYNC_EVENT_BYTES, MAX_EVENT_BYTES, MAX_INVOKE_ASYNC_BYTES, MAX_TENANT_ID_BYTES};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST /2015-03-31/functions/{name}/invocations`.
    Invoke,
    /// `POST /2021-11-15/functions/{name}/response-streaming-invocations`.
    InvokeWithResponseStream,
    /// `POST /2014-11-13/functions/{name}/invoke-async`, deprecated (7.5).
    InvokeAsync,
}

/// `X-Amz-Invocation-Type` (IN-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvocationType {
    /// Run it and give the result.
    #[default]
    RequestResponse,
    /// Run it some time later; the result goes nowhere.
    Event,
    /// Only check the request.
    DryRun,
}

/// `X-Amz-Log-Type` (IN-04).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogType {
    /// No log.
    #[default]
    None,
    /// The end of the invoke's log goes with the answer.
    Tail,
}

// === impl Operation ===

impl Operation {
    /// Whether a path belongs to the Lambda API and not to the function (HT-58).
    pub fn owns(path: &str) -> bool {
        ["/2015-03-31/", "/2021-11-15/", "/2014-11-13/"].iter().any(|prefix| path.starts_with(prefix))
    }

    /// The operation that a request line asks for, and the function's name, decoded.
    ///
    /// # Errors
    ///
    /// The answer for paths that nothing is behind, for other methods, and for names that are not UTF-8.
    pub fn of(method: &Method, path: &str) -> Result<(Self, String), InvokeError> {
        let mut segments = path.trim_start_matches('/').split('/');
        let mut next = || segments.next().unwrap_or_default();
        let (version, functions, name, verb) = (next(), next(), next(), next());
        let more = segments.any(|segment| !segment.is_empty());
        let operation = match (version, verb) {
            ("2015-03-31", "invocations") => Self::Invoke,
            ("2021-11-15", "response-streaming-invocations") => Self::InvokeWithResponseStream,
            ("2014-11-13", "invoke-async") => Self::InvokeAsync,
            _ => return Err(InvokeError::UnknownPath),
        };
        if functions != "functions" || more {
            return Err(InvokeError::UnknownPath);
        }
        if method != Method::POST {
            return Err(InvokeError::WrongMethod);
        }
        let name = percent_decode_str(name).decode_utf8().map_err(|_| InvokeError::function_name(name))?;
        Ok((operation, name.into_owned()))
    }

    /// The largest request body, in bytes (LM-01, LM-03).
    pub fn max_event_bytes(self, invocation_type: InvocationType) -> usize {
        match (self, invocation_type) {
            (Self::InvokeAsync, _) => MAX_INVOKE_ASYNC_BYTES,
            (Self::Invoke, InvocationType::Event) => MAX_ASYNC_EVENT_BYTES,
            _ => MAX_EVENT_BYTES,
        }
    }
}

// === impl InvocationType ===

impl InvocationType {
    /// Reads the header; absent and empty mean `RequestResponse`.
    ///
    /// # Errors
    ///
    /// Any other word.
    pub fn parse(header: Option<&str>) -> Result<Self, InvokeError> {
        match header.unwrap_or_default() {
            "" | "RequestResponse" => Ok(Self::RequestResponse),
            "Event" => Ok(Self::Event),
            "DryRun" => Ok(Self::DryRun),
            other => {
                Err(InvokeError::not_in_enum(other, "invocationType", "[Event, RequestResponse, DryRun]"))
            }
        }
    }
}

// === impl LogType ===

impl LogType {
    /// Reads the header; absent and empty mean `None`.
    ///
    /// # Errors
    ///
    /// Any other word.
    pub fn parse(header: Option<&str>) -> Result<Self, InvokeError> {
        match header.unwrap_or_default() {
            "" | "None" => Ok(Self::None),
            "Tail" => Ok(Self::Tail),
            other => Err(InvokeError::not_in_enum(other, "logType", "[None, Tail]")),
        }
    }
}

/// Reads `X-Amz-Tenant-Id` (RT-22, IN-06).
///
/// # Errors
///
/// More than 256 characters, or others than letters, digits and `._:/=+-@ `.
pub fn tenant_id(header: &str) -> Result<&str, InvokeError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/=+-@ ".contains(&byte);
    if (1..=MAX_TENANT_ID_BYTES).contains(&header.len()) && header.bytes().all(legal) {
        Ok(header)
    } else {
        let pattern = "[a-zA-Z0-9\\._:\\/=+\\-@ ]+";
        Err(InvokeError::not_in_pattern(header, "tenantId", pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, path: &str) -> Result<(Operation, String), u16> {
        Operation::of(&method, path).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn request_lines() {
        let invoke = |name: &str| Ok((Operation::Invoke, name.to_owned()));
        assert_eq!(of(Method::POST, "/2015-03-31/functions/crow/invocations"), invoke("crow"));
        assert_eq!(of(Method::POST, "/2015-03-31/functions/crow%3Ablue/invocations"), invoke("crow:blue"));
        assert_eq!(of(Method::POST, "/2015-03-31/functions/crow:blue/invocations/"), invoke("crow:blue"));
        assert_eq!(
            of(Method::POST, "/2021-11-15/functions/crow/response-streaming-invocations"),
            Ok((Operation::InvokeWithResponseStream, "crow".to_owned()))
        );
        assert_eq!(
            of(Method::POST, "/2014-11-13/functions/crow/invoke-async/"),
            Ok((Operation::InvokeAsync, "crow".to_owned()))
        );
        assert_eq!(of(Method::GET, "/2015-03-31/functions/crow/invocations"), Err(405));
        assert_eq!(of(Method::POST, "/2015-03-31/functions/crow%ff/invocations"), Err(400));
        for path in [
            "/2015-03-31/functions/",
            "/2015-03-31/functions/crow",
            "/2015-03-31/layers/crow/invocations",
            "/2015-03-31/functions/crow/invocations/more",
            "/2021-11-15/functions/crow/invocations",
        ] {
            assert_eq!(of(Method::POST, path), Err(404), "{path}");
        }
    }

    #[test]
    fn lm_21_words_and_their_defaults() {
        assert_eq!(InvocationType::parse(None).unwrap(), InvocationType::RequestResponse);
        assert_eq!(InvocationType::parse(Some("Event")).unwrap(), InvocationType::Event);
        assert_eq!(LogType::parse(Some("")).unwrap(), LogType::None);
        assert_eq!(LogType::parse(Some("Tail")).unwrap(), LogType::Tail);
        let error = InvocationType::parse(Some("event")).unwrap_err();
        assert_eq!(error.status(), 400);
        assert!(
            error.body().contains("enum value set: [Event, RequestResponse, DryRun]"),
            "{}",
            error.body()
        );
        assert!(LogType::parse(Some("tail")).is_err());
        assert!(tenant_id("blue/Team 7@x").is_ok());
        assert!(tenant_id("").is_err() && tenant_id("a;b").is_err() && tenant_id(&"x".repeat(257)).is_err());
    }
}
