//! Tokens: the detour over the registry's token server.

use http::HeaderValue;
use serde::Deserialize;

use super::{challenge::Challenge, error::RegistryError, repository::Repository};
use crate::auth::{Credentials, Secret};

const MAX_ANSWER: usize = 1 << 20;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    access_token: Option<Secret>,
}

/// The `Authorization` that answers a challenge.
pub(super) async fn answer(
    repository: &Repository,
    challenge: &Challenge,
) -> Result<HeaderValue, RegistryError> {
    match (challenge, repository.credentials()) {
        (_, Credentials::Bearer(token)) => header("Bearer", token.expose(), repository),
        (Challenge::Basic, Credentials::Basic { username, password }) => {
            basic(username, password, repository)
        }
        (Challenge::Basic, _) => Err(repository.no_credentials()),
        (Challenge::Bearer { realm, service, scope, .. }, _) => {
            let token = fetch(repository, realm, service.as_deref(), scope.as_deref()).await?;
            header("Bearer", token.expose(), repository)
        }
    }
}

async fn fetch(
    repository: &Repository,
    realm: &str,
    service: Option<&str>,
    asked: Option<&str>,
) -> Result<Secret, RegistryError> {
    let url = realm_url(repository, realm)?;
    let mut params: Vec<(&str, String)> = Vec::new();
    params.extend(service.map(|service| ("service", service.to_owned())));
    let mut scopes = repository.scopes();
    if let Some(asked) = asked.filter(|asked| !scopes.iter().any(|scope| covers(scope, asked))) {
        scopes.push(asked.to_owned());
    }
    let http = repository.client().http(&url)?;
    let request = match repository.credentials() {
        Credentials::Identity(token) => {
            params.push(("scope", scopes.join(" ")));
            params.push(("grant_type", "refresh_token".into()));
            params.push(("client_id", "tm".into()));
            params.push(("refresh_token", token.expose().into()));
            let form = form(&params);
            http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form)
        }
        credentials => {
            params.extend(scopes.into_iter().map(|scope| ("scope", scope)));
            let mut url = url;
            url.query_pairs_mut().extend_pairs(params);
            let request = http.get(url);
            match credentials {
                Credentials::Basic { username, password } => {
                    request.header("authorization", basic(username, password, repository)?)
                }
                _ => request,
            }
        }
    };
    read(repository, request).await
}

/// Whether a scope we ask for anyway includes the one of the challenge.
fn covers(ours: &str, asked: &str) -> bool {
    ours == asked
        || asked.rsplit_once(':').is_some_and(|(name, _)| ours.starts_with(&format!("{name}:pull,push")))
}

fn form(params: &[(&str, String)]) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    params.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// The token server may be another host, but never one without TLS for a registry that has it.
fn realm_url(repository: &Repository, realm: &str) -> Result<reqwest::Url, RegistryError> {
    let problem = |problem: &str| repository.protocol(format!("{problem}: {realm}"));
    let url = reqwest::Url::parse(realm).map_err(|_| problem("its token server has no proper URL"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if repository.may_be_plain() => Ok(url),
        _ => Err(problem("its token server is not reached by TLS")),
    }
}

async fn read(repository: &Repository, request: reqwest::RequestBuilder) -> Result<Secret, RegistryError> {
    let response = repository.bounded("get a token", request).await?;
    match response.status().as_u16() {
        200..=299 => {}
        401 | 403 => return Err(repository.wrong_credentials()),
        _ => return Err(repository.refused("get a token", response).await),
    }
    let body = repository.body(response, MAX_ANSWER, "get a token").await?;
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| repository.protocol("its token is not JSON".into()))?;
    let token = [answer.token, answer.access_token].into_iter().flatten().find(|t| !t.expose().is_empty());
    token.ok_or_else(|| repository.protocol("its token server sent no token".into()))
}

fn basic(username: &str, password: &Secret, repository: &Repository) -> Result<HeaderValue, RegistryError> {
    use base64::Engine as _;
    let pair = format!("{username}:{}", password.expose());
    header("Basic", &base64::engine::general_purpose::STANDARD.encode(pair), repository)
}

fn header(scheme: &str, secret: &str, repository: &Repository) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}"))
        .map_err(|_| repository.protocol("its token has characters that no header may have".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_we_have_is_not_asked_twice() {
        assert!(covers("repository:a/b:pull,push", "repository:a/b:pull"));
        assert!(covers("repository:a/b:pull", "repository:a/b:pull"));
        assert!(!covers("repository:a/b:pull", "repository:a/b:pull,push"));
        assert!(!covers("repository:a/b:pull,push", "repository:a/c:pull"));
    }
}
