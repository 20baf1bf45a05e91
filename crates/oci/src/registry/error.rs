//! What can go wrong between us and a registry, in the words of somebody who has to fix it.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{auth::AuthError, digest::Digest};

/// Why the registry did not do it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, no name, no TLS.
    #[error("registry `{host}` cannot be reached")]
    Unreachable {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection is there and nothing moves.
    #[error("registry `{host}` made no progress for {} s while we tried to {action}", waited.as_secs())]
    Stalled {
        /// The registry.
        host: String,
        /// What was tried.
        action: String,
        /// How long.
        waited: Duration,
    },
    /// The credentials we have are wrong.
    #[error("registry `{host}` refused the user name or password{}", from(file))]
    WrongCredentials {
        /// The registry.
        host: String,
        /// Where the credentials are from.
        file: Option<PathBuf>,
    },
    /// The registry wants credentials and we have none.
    #[error("registry `{host}` wants credentials and there are none for it")]
    NoCredentials {
        /// The registry.
        host: String,
    },
    /// We are known, and may not.
    #[error("registry `{host}` does not let us {action}{}", said(message))]
    Denied {
        /// The registry.
        host: String,
        /// What was tried.
        action: String,
        /// What the registry says.
        message: String,
    },
    /// No such repository, tag or blob.
    #[error("registry `{host}` does not have {what}")]
    NotFound {
        /// The registry.
        host: String,
        /// What was asked for.
        what: String,
        /// Where it was asked for, without query; `None` when something else that is there does not name it.
        url: Option<String>,
    },
    /// Any other refusal.
    #[error("registry `{host}` answered {status} when we tried to {action}{}", said(message))]
    Refused {
        /// The registry.
        host: String,
        /// What was tried.
        action: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says.
        message: String,
    },
    /// The answer is not what the distribution API says.
    #[error("registry `{host}` does not speak the distribution API: {problem}")]
    Protocol {
        /// The registry.
        host: String,
        /// What is wrong.
        problem: String,
    },
    /// The bytes that came are not those that were asked for.
    #[error("registry `{host}` sent other bytes than {want}: {got}")]
    Digest {
        /// The registry.
        host: String,
        /// What was asked for.
        want: Digest,
        /// What came.
        got: String,
    },
    /// Our own side could not read what was to be sent.
    #[error("failed to read what was to be sent")]
    Content(#[source] std::io::Error),
    /// The HTTP client could not be made.
    #[error("failed to set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// A file of extra certificates cannot be used.
    #[error("failed to read certificates from `{path}`")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The credential files are unusable.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

fn from(file: &Option<PathBuf>) -> String {
    file.as_ref().map(|path| format!(" of `{}`", path.display())).unwrap_or_default()
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl RegistryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoCredentials { .. } => {
                "store them with `tm set registry-auth NAME` and deploy with `--registry-secret NAME`"
            }
            Self::WrongCredentials { .. } => "renew them with `tm set registry-auth NAME`",
            Self::Denied { .. } => {
                "the account needs the right to push to this repository, which may have to exist first"
            }
            Self::Unreachable { .. } => "check the registry's name, and that it runs",
            _ => return None,
        })
    }

    /// Whether the registry does not have it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether trying again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !is_certificate(source),
            Self::Stalled { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// A certificate that does not fit will not fit in a second either.
fn is_certificate(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        source = error.source();
    }
    false
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<BodyError>,
}

#[derive(Deserialize)]
struct BodyError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The registry's own words out of an error body, on one line and of bounded length.
pub(super) fn message_of(body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return String::new() };
    let texts = body.errors.iter().take(3).map(|error| match error.message.as_str() {
        "" => error.code.clone(),
        message => format!("{message} ({})", error.code),
    });
    let text = texts.collect::<Vec<_>>().join("; ");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_become_one_line() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\nway","detail":{}},{"code":"X"}]}"#;
        assert_eq!(message_of(body), "no way (DENIED); X");
        assert_eq!(message_of(b"<html>"), "");
    }
}
