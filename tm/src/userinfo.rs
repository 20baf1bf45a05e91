//! `user:password@` of URLs, which must neither be shown nor become an argument of another program.

use std::borrow::Cow;

/// A URL taken apart. No `Debug`: it holds a password.
pub(crate) struct Split<'a> {
    /// The URL without it.
    pub(crate) url: Cow<'a, str>,
    /// What stood before the `@`, as written.
    pub(crate) userinfo: Option<&'a str>,
}

/// Takes the userinfo out of a URL. Other words, `git@host:path` among them, stay as they are.
pub(crate) fn split(text: &str) -> Split<'_> {
    let whole = Split { url: Cow::Borrowed(text), userinfo: None };
    let Some((scheme, rest)) = text.split_once("://") else { return whole };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The host is behind the last `@`: a password that was not encoded may hold others. What looks like a port and is no
    // number is the begin of a password with a slash.
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let torn = !authority.contains('@') && !port.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit());
    let Some(at) = (if torn { rest } else { authority }).rfind('@') else { return whole };
    Split { url: format!("{scheme}://{}", &rest[at + 1..]).into(), userinfo: Some(&rest[..at]) }
}

/// The word as it may be shown.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    split(text).url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_is_taken_out() {
        for (text, url, userinfo) in [
            ("https://u:p@h:8443/a/b.git", "https://h:8443/a/b.git", Some("u:p")),
            ("https://token@h", "https://h", Some("token")),
            ("HTTPS://u:p@q@h/a@b", "HTTPS://h/a@b", Some("u:p@q")),
            ("https://u:p/q@h/a", "https://h/a", Some("u:p/q")),
            ("https://h:8443/a@b", "https://h:8443/a@b", None),
            ("https://[::1]/a@b", "https://[::1]/a@b", None),
            ("ssh://git@h/a", "ssh://h/a", Some("git")),
            ("https://h/a@b", "https://h/a@b", None),
            ("git@h:a/b.git", "git@h:a/b.git", None),
            ("file:///a@b", "file:///a@b", None),
            ("./folder", "./folder", None),
            ("", "", None),
        ] {
            let split = split(text);
            assert_eq!((split.url.as_ref(), split.userinfo), (url, userinfo), "{text}");
        }
    }
}
