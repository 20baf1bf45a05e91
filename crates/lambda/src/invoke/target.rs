//! Whom a caller means: the forms of `FunctionName` (IN-01) and `Qualifier` (IN-02).

use std::fmt;

use super::error::InvokeError;
use crate::arn::FunctionArn;

/// A function as a caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    name: String,
    account: Option<String>,
    region: Option<String>,
    qualifier: Option<Qualifier>,
}

/// A version or alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qualifier(String);

/// The name that AWS's emulator serves whatever the function is called; tools rely on it.
const EMULATOR_NAME: &str = "function";

const MAX_NAME: usize = 256;
const MAX_QUALIFIER: usize = 128;
const MAX_FUNCTION: usize = 64;

// === impl Target ===

impl Target {
    /// Reads a decoded `FunctionName` and the query's `Qualifier`.
    ///
    /// # Errors
    ///
    /// Names of no known form, and two qualifiers that differ.
    pub fn parse(name: &str, query: Option<&str>) -> Result<Self, InvokeError> {
        let mut target = Self::parse_name(name).ok_or_else(|| InvokeError::function_name(name))?;
        let query = query.filter(|text| !text.is_empty()).map(Qualifier::parse).transpose()?;
        match (&target.qualifier, query) {
            (Some(own), Some(query)) if *own != query => return Err(InvokeError::QualifierMismatch),
            (None, query) => target.qualifier = query,
            _ => {}
        }
        Ok(target)
    }

    /// `NAME[:QUALIFIER]`, `ACCOUNT:function:NAME[:QUALIFIER]` or an ARN.
    fn parse_name(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_NAME {
            return None;
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account, name, qualifier) = match parts.as_slice() {
            [name] => (None, None, name, None),
            [name, qualifier] => (None, None, name, Some(qualifier)),
            [account, "function", name] => (None, Some(account), name, None),
            [account, "function", name, qualifier] => (None, Some(account), name, Some(qualifier)),
            ["arn", partition, "lambda", region, account, "function", name, rest @ ..]
                if partition.starts_with("aws") && rest.len() <= 1 =>
            {
                (Some(region), Some(account), name, rest.first())
            }
            _ => return None,
        };
        let account_ok =
            account.is_none_or(|text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()));
        let region_ok = region.is_none_or(|text| is_word(text));
        if !account_ok || !region_ok || !is_word(name) {
            return None;
        }
        let qualifier = qualifier.map(|text| Qualifier::parse(text)).transpose().ok()?;
        Some(Self {
            name: (*name).to_owned(),
            account: account.map(|text| (*text).to_owned()),
            region: region.map(|text| (*text).to_owned()),
            qualifier,
        })
    }

    /// The qualifier, where there was one.
    pub fn qualifier(&self) -> Option<&Qualifier> {
        self.qualifier.as_ref()
    }

    /// Checks that `own` is meant (IN-20): by its name, its ARN or the name `function`. With `any_name` the name does not
    /// matter.
    ///
    /// # Errors
    ///
    /// The 404 that AWS gives for unknown functions and versions.
    pub fn check(&self, own: &FunctionArn, any_name: bool) -> Result<(), InvokeError> {
        let name = any_name
            || self.name == own.name().as_str()
            || (self.name == EMULATOR_NAME && self.account.is_none());
        let named = name && self.name.len() <= MAX_FUNCTION;
        let account = any_name || self.account.as_deref().is_none_or(|account| account == own.account());
        let region = any_name || self.region.as_deref().is_none_or(|region| region == own.region());
        // Aliases are the deployment's business, so all of them are let through. `$latest` never was a version.
        let version = self.qualifier.as_ref().is_none_or(|q| q.0 == "$LATEST" || !q.0.contains('$'));
        if named && account && region && version { Ok(()) } else { Err(self.not_found(own)) }
    }

    fn not_found(&self, own: &FunctionArn) -> InvokeError {
        let region = self.region.as_deref().unwrap_or(own.region());
        let account = self.account.as_deref().unwrap_or(own.account());
        let qualifier = self.qualifier.as_ref().map_or("$LATEST", |qualifier| &qualifier.0);
        InvokeError::NotFound(format!(
            "arn:{}:lambda:{region}:{account}:function:{}:{qualifier}",
            own.partition(),
            self.name
        ))
    }
}

// === impl Qualifier ===

impl Qualifier {
    fn parse(text: &str) -> Result<Self, InvokeError> {
        if text.len() > MAX_QUALIFIER {
            let constraint = "Member must have length less than or equal to 128";
            return Err(InvokeError::validation(text, "qualifier", constraint));
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"$_-".contains(&byte);
        if text.is_empty() || !text.bytes().all(legal) {
            return Err(InvokeError::not_in_pattern(
                text,
                "qualifier",
                "\\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9$_-]+",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::FunctionName;

    fn own() -> FunctionArn {
        FunctionArn::new("eu-west-1", "111122223333", FunctionName::parse("stork").unwrap())
    }

    fn call(name: &str, query: Option<&str>) -> Result<Option<String>, InvokeError> {
        let target = Target::parse(name, query)?;
        target.check(&own(), false)?;
        Ok(target.qualifier().map(ToString::to_string))
    }

    #[test]
    fn in_01_every_form_of_the_name() {
        for (name, query, qualifier) in [
            ("stork", None, None),
            ("stork", Some(""), None),
            ("stork", Some("blue"), Some("blue")),
            ("stork:blue", None, Some("blue")),
            ("stork:7", Some("7"), Some("7")),
            ("stork:$LATEST", None, Some("$LATEST")),
            ("function", None, None),
            ("111122223333:function:stork", None, None),
            ("111122223333:function:stork:blue", None, Some("blue")),
            ("arn:aws:lambda:eu-west-1:111122223333:function:stork", None, None),
            ("arn:aws:lambda:eu-west-1:111122223333:function:stork:7", None, Some("7")),
        ] {
            assert_eq!(call(name, query).unwrap().as_deref(), qualifier, "{name}");
        }
    }

    #[test]
    fn others_are_not_found() {
        let long = "x".repeat(65);
        for name in [
            "crow",
            "stork:$latest",
            "222222222222:function:stork",
            "arn:aws:lambda:us-east-1:111122223333:function:stork",
            &long,
        ] {
            let error = call(name, None).unwrap_err();
            assert_eq!((error.status().as_u16(), error.name()), (404, "ResourceNotFoundException"), "{name}");
        }
        assert_eq!(
            call("crow", None).unwrap_err().body(),
            r#"{"Type":"User","Message":"Function not found: arn:aws:lambda:eu-west-1:111122223333:function:crow:$LATEST"}"#
        );
        assert!(Target::parse("crow", None).unwrap().check(&own(), true).is_ok());
    }

    #[test]
    fn forms_that_do_not_exist() {
        let long = "x".repeat(257);
        for name in [
            "x y",
            "",
            "a:b:c",
            "1:function:stork",
            "arn:aws:s3:eu-west-1:111122223333:function:stork",
            &long,
        ] {
            let error = call(name, None).unwrap_err();
            assert_eq!((error.status().as_u16(), error.name()), (400, "ValidationException"), "{name}");
        }
        assert_eq!(call("stork", Some(&"q".repeat(129))).unwrap_err().name(), "ValidationException");
        let mismatch = call("stork:blue", Some("green")).unwrap_err();
        assert_eq!(
            mismatch.body(),
            r#"{"Type":"User","message":"The derived qualifier from the function name does not match the specified qualifier."}"#
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(name in "\\PC*", query in proptest::option::of("\\PC*")) {
            if let Ok(target) = Target::parse(&name, query.as_deref()) {
                let _ = target.check(&own(), true);
            }
        }
    }
}
