//! Identifiers that are parsed on entry: request ids, function names, versions.

use std::fmt;

use uuid::Uuid;

/// The id of one invoke: UUID text. The runtime, the log lines and the caller all see the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

/// The name of a function: 1 to 64 letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionName(String);

/// A function's version: `$LATEST`, a number, or (ours) the name of a Knative revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionVersion(String);

/// Why a text is not the identifier it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not UUID text.
    #[error("not a request id")]
    RequestId,
    /// Not a function name.
    #[error("a function name is 1 to 64 letters, digits, `-` and `_`")]
    FunctionName,
    /// Not a version.
    #[error("a version is `$LATEST` or 1 to 128 letters, digits, `-`, `_` and `.`")]
    FunctionVersion,
}

// === impl RequestId ===

impl RequestId {
    /// A new random id.
    pub fn mint() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads an id as it stands in a Runtime API path.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        // Only the hyphenated form was ever handed out; braces, URNs and bare hex are somebody else's.
        if text.len() != 36 {
            return Err(InvalidId::RequestId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId::RequestId)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

// === impl FunctionName ===

impl FunctionName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=64).contains(&text.len()) && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::FunctionName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl FunctionVersion ===

impl FunctionVersion {
    /// The version of a function that was never published.
    pub fn latest() -> Self {
        Self("$LATEST".to_owned())
    }

    /// Checks a version. Knative revision names are taken as they are: on a cluster they are the version.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let named = (1..=128).contains(&text.len()) && text.chars().all(legal);
        if text == "$LATEST" || named { Ok(Self(text.to_owned())) } else { Err(InvalidId::FunctionVersion) }
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn request_ids_are_hyphenated_uuids_only() {
        let id = RequestId::mint();
        assert_eq!(RequestId::parse(&id.to_string()), Ok(id));
        for bad in ["", "x", "5f0d1c0a3c554b2f9a772d3b6a1e9f10", "{5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10}"] {
            assert_eq!(RequestId::parse(bad), Err(InvalidId::RequestId), "{bad}");
        }
    }

    #[test]
    fn names_and_versions() {
        assert!(FunctionName::parse("crow_2-x").is_ok());
        for bad in ["", "a b", "a.b", &"x".repeat(65)] {
            assert!(FunctionName::parse(bad).is_err(), "{bad}");
        }
        assert!(FunctionVersion::parse("$LATEST").is_ok());
        assert!(FunctionVersion::parse("crow-00002").is_ok());
        assert!(FunctionVersion::parse("$latest").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC*") {
            let _ = RequestId::parse(&text);
            let _ = FunctionName::parse(&text);
            let _ = FunctionVersion::parse(&text);
        }
    }
}
