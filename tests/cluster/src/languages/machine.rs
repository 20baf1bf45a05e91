//! How this machine reaches packages: variables of Go, pip, npm and of proxies, as builds in pods need them too.
//!
//! An address with a password in it is never taken: it would end up in an image.

use serde_json::Value;

use crate::{command::Program, say};

/// Variables that are handed on as they are.
const HANDED_ON: &[&str] = &[
    "GOPROXY",
    "GOSUMDB",
    "GONOSUMDB",
    "GONOPROXY",
    "GOPRIVATE",
    "GOINSECURE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// Settings of Go that `go env -w` keeps in a file.
const OF_GO: &[&str] = &["GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE"];
/// What programs with authorities of their own are told to trust.
const TRUST: &[(&str, &str)] = &[
    ("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt"),
    ("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"),
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    // The image has one toolchain; another one would have to be fetched from elsewhere.
    ("GOTOOLCHAIN", "local"),
];

/// Variables for images that build.
pub(super) async fn environment() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        TRUST.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    all.extend(of_go().await);
    all.extend(asked("PIP_INDEX_URL", "pip3", &["config", "get", "global.index-url"]).await);
    all.extend(asked("NPM_CONFIG_REGISTRY", "npm", &["config", "get", "registry"]).await);
    let set = HANDED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    all.extend(set);
    all.retain(|(name, value)| is_harmless(name, value));
    all
}

/// What differs from Go's defaults.
async fn of_go() -> Vec<(String, String)> {
    let Ok(text) = Program::new("go").args(["env", "-changed", "-json"]).run().await else {
        return Vec::new();
    };
    let Ok(Value::Object(changed)) = serde_json::from_slice(&text) else { return Vec::new() };
    let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
    changed.into_iter().filter_map(text).filter(|(name, _)| OF_GO.contains(&name.as_str())).collect()
}

/// A setting of a program, if there is the program and it has the setting.
async fn asked(name: &str, program: &str, args: &[&str]) -> Option<(String, String)> {
    let value = Program::new(program).args(args).text().await.ok()?;
    value.starts_with("http").then(|| (name.to_owned(), value))
}

fn is_harmless(name: &str, value: &str) -> bool {
    let has_password = value.split(',').any(|part| {
        let after_scheme = part.split_once("://").map_or(part, |(_, rest)| rest);
        after_scheme.split('/').next().is_some_and(|host| host.contains('@'))
    });
    if has_password {
        say::note(&format!("  {name} has a password in it and is not handed on to builds"));
    }
    !value.is_empty() && !has_password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_stays_here() {
        assert!(is_harmless("GOPROXY", "https://proxy.example.com,direct"));
        assert!(is_harmless("X", "https://example.com/@scope/package"));
        assert!(!is_harmless("GOPROXY", "https://proxy.example.com,https://user:secret@example.com"));
        assert!(!is_harmless("HTTP_PROXY", "user:secret@proxy:3128"));
        assert!(!is_harmless("HTTP_PROXY", ""));
    }
}
