//! A git URL without its user and password, and the environment that tells git of them.
//!
//! git asks a credential helper, which is set by `GIT_CONFIG_…` variables (git 2.31) for this host alone and prints two
//! further variables. So no argument, of git or of what it starts, holds a secret, and git stores none.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Result, bail};
use percent_encoding::percent_decode_str;

use crate::{error::HintExt, userinfo};

/// Variables the helper prints.
const USERNAME: &str = "TM_GIT_USERNAME";
const PASSWORD: &str = "TM_GIT_PASSWORD";
/// What git runs as `sh -c "… get"`, and with `store` and `erase`, which are nothing to it.
const HELPER: &str = r#"!f() { if test "$1" = get; then printf 'username=%s\npassword=%s\n' "$TM_GIT_USERNAME" "$TM_GIT_PASSWORD"; fi; }; f"#;
/// Number of `GIT_CONFIG_KEY_N` and `GIT_CONFIG_VALUE_N`.
const COUNT: &str = "GIT_CONFIG_COUNT";

/// A repository. No `Debug`: it may hold a password.
pub(super) struct Repository {
    /// What git is given, and what may be shown.
    pub(super) url: String,
    credentials: Option<Credentials>,
}

struct Credentials {
    /// `scheme://host[:port]`: who is told of them.
    host: String,
    username: OsString,
    /// Without one the user's own helpers are asked first; a token in the user's place needs none.
    password: Option<OsString>,
}

// === impl Repository ===

impl Repository {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// When its user or password is nothing that git takes.
    pub(super) fn of(url: &str) -> Result<Self> {
        let split = userinfo::split(url);
        let plain = Self { url: split.url.into_owned(), credentials: None };
        let Some(userinfo) = split.userinfo else { return Ok(plain) };
        let (username, password) = match userinfo.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (userinfo, None),
        };
        let Some((scheme, rest)) = plain.url.split_once("://") else { return Ok(plain) };
        match (scheme, password) {
            ("http" | "https", _) => {
                let host = format!("{scheme}://{}", rest.split(['/', '?', '#']).next().unwrap_or_default());
                let password = password.map(|text| decoded(text, &plain.url)).transpose()?;
                let credentials = Credentials { host, username: decoded(username, &plain.url)?, password };
                Ok(Self { credentials: Some(credentials), ..plain })
            }
            // The user of ssh is part of the address and no secret.
            ("ssh", None) => Ok(Self { url: format!("{scheme}://{username}@{rest}"), credentials: None }),
            ("ssh", Some(_)) => Err(anyhow::anyhow!("ssh takes no password from a URL: `{}`", plain.url))
                .hint("leave the password out and load a key into the SSH agent"),
            _ => Ok(plain),
        }
    }

    /// What git's environment needs in addition.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let Some(credentials) = &self.credentials else { return Vec::new() };
        let setting =
            |name: &str, value: &OsStr| (format!("credential.{}.{name}", credentials.host), value.to_owned());
        let mut settings = vec![setting("username", &credentials.username)];
        if credentials.password.is_some() {
            // An empty helper takes the user's own away: what was typed counts, and is not stored.
            settings.push(setting("helper", OsStr::new("")));
        }
        settings.push(setting("helper", OsStr::new(HELPER)));
        // Settings that are in the environment already stay.
        let before: usize = std::env::var(COUNT).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        let count = (COUNT.into(), (before + settings.len()).to_string().into());
        let numbered = settings.into_iter().zip(before..).flat_map(|((key, value), number)| {
            [
                (format!("GIT_CONFIG_KEY_{number}").into(), key.into()),
                (format!("GIT_CONFIG_VALUE_{number}").into(), value),
            ]
        });
        let password = credentials.password.clone().unwrap_or_default();
        let secrets = [(USERNAME.into(), credentials.username.clone()), (PASSWORD.into(), password)];
        numbered.chain([count]).chain(secrets).collect()
    }
}

/// Percent-decoded; a line's end would be another word of git's.
fn decoded(text: &str, url: &str) -> Result<OsString> {
    let text = OsString::from_vec(percent_decode_str(text).collect());
    if text.as_bytes().iter().any(u8::is_ascii_control) {
        bail!("the user or password in the URL of `{url}` holds a control character");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables of a URL, and what git is given.
    fn of(url: &str) -> (String, Vec<(String, String)>) {
        let repository = Repository::of(url).expect("it is one");
        let text = |word: OsString| word.into_string().expect("text");
        let variables = repository.environment().into_iter().map(|(name, value)| (text(name), text(value)));
        (repository.url.clone(), variables.collect())
    }

    #[test]
    fn a_password_is_for_its_host_alone() {
        let (url, variables) = of("https://me:p%40ss@h:8443/a.git");
        assert_eq!(url, "https://h:8443/a.git");
        let value =
            |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!((value(USERNAME), value(PASSWORD)), (Some("me"), Some("p@ss")));
        let keys = variables.iter().filter(|(name, _)| name.starts_with("GIT_CONFIG_KEY_"));
        let keys: Vec<_> = keys.map(|(_, key)| key.strip_prefix("credential.https://h:8443.")).collect();
        assert_eq!(keys, [Some("username"), Some("helper"), Some("helper")]);
    }

    #[test]
    fn others_need_nothing() {
        for (typed, url) in [
            ("https://h/a", "https://h/a"),
            ("git@h:a.git", "git@h:a.git"),
            ("ssh://git@h:22/a", "ssh://git@h:22/a"),
            ("git://u:p@h/a", "git://h/a"),
        ] {
            assert_eq!(of(typed), (url.to_owned(), Vec::new()), "{typed}");
        }
    }

    #[test]
    fn what_git_would_misread_is_refused_and_not_shown() {
        for url in ["ssh://git:geheim@h/a", "https://u:geheim%0ahost=x@h/a", "https://u%00:geheim@h/a"] {
            let error = Repository::of(url).err().expect(url);
            assert!(!format!("{error:#}").contains("geheim"), "{error:#}");
        }
    }
}
