//! `WWW-Authenticate`: what a registry wants before it lets us in.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// How to identify ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server.
        realm: String,
        /// What to tell it we want to talk to.
        service: Option<String>,
        /// The right that this request needs.
        scope: Option<String>,
        /// Such as `insufficient_scope`.
        error: Option<String>,
    },
}

/// The challenge of a 401: a token if the registry offers one, else a password.
pub(super) fn parse(headers: &HeaderMap) -> Option<Challenge> {
    let all = headers.get_all(WWW_AUTHENTICATE);
    let mut challenges = all.iter().filter_map(|value| parse_one(value.to_str().ok()?)).collect::<Vec<_>>();
    challenges.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
    challenges.into_iter().next()
}

fn parse_one(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let params = params(rest);
    let get =
        |name: &str| params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
    Some(Challenge::Bearer {
        realm: get("realm")?,
        service: get("service"),
        scope: get("scope"),
        error: get("error"),
    })
}

/// `key="value", key=value`; commas inside quotes belong to the value.
fn params(text: &str) -> Vec<(String, String)> {
    let mut params = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim().trim_start_matches(',').trim().to_owned();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                after.split_once(',').map_or((after.trim().to_owned(), ""), |(v, r)| (v.trim().to_owned(), r))
            }
        };
        params.push((key, value));
        rest = after;
    }
    params
}

fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bearer_with_commas_in_quotes() {
        let text = r#"Bearer realm="https://auth.io/token",service="reg,1",scope="repository:a/b:pull,push",error=insufficient_scope"#;
        assert_eq!(
            parse_one(text),
            Some(Challenge::Bearer {
                realm: "https://auth.io/token".into(),
                service: Some("reg,1".into()),
                scope: Some("repository:a/b:pull,push".into()),
                error: Some("insufficient_scope".into()),
            })
        );
    }

    #[test]
    fn a_token_is_preferred() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        assert_eq!(parse(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"r\"".parse().unwrap());
        assert!(matches!(parse(&headers), Some(Challenge::Bearer { .. })));
        assert_eq!(parse_one("Negotiate"), None);
        assert_eq!(parse_one("Bearer service=x"), None, "without a realm there is nobody to ask");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_one(&text);
            let _ = params(&text);
        }
    }
}
