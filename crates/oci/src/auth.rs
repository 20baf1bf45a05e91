//! Credentials from Docker's `config.json`: which files are read, and which entry belongs to a registry.
//!
//! Secrets stay in here: no `Debug`, error or log shows one.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use fs_err as fs;
use serde::Deserialize;

use crate::reference::{DOCKER_HUB, Reference};

const MAX_FILE: u64 = 1 << 20;

/// Who we are to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody.
    Anonymous,
    /// A user name and a password or access token.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token for the registry's token server.
    Identity(Secret),
    /// A token to be sent as it is.
    Bearer(Secret),
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// `config.json` of Docker, what we use of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<Secret>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    identitytoken: Option<Secret>,
    #[serde(default)]
    registrytoken: Option<Secret>,
}

/// Files to look into, first match wins.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    configs: Vec<DockerConfig>,
    files: Vec<PathBuf>,
}

/// Why credentials could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file that is there cannot be read.
    #[error("failed to read registry credentials from `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not JSON, or not of Docker's shape. The parser's message is left out: it could quote a secret.
    #[error("`{path}` is not a Docker config file (line {line})")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
    },
    /// An entry's `auth` is not base64 of `user:password`.
    #[error("the `auth` of {host} is not base64 of user:password")]
    BadAuth {
        /// The entry's key.
        host: String,
    },
    /// The entry points to a program we will not run.
    #[error(
        "credentials of {host} are kept by the helper `docker-credential-{helper}`, which is not supported here; \
         put `auth` or `username` and `password` into `auths`"
    )]
    Helper {
        /// The registry.
        host: String,
        /// The helper's name.
        helper: String,
    },
}

// === impl Secret ===

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic([hidden])",
            Self::Identity(_) => "Identity([hidden])",
            Self::Bearer(_) => "Bearer([hidden])",
        })
    }
}

// === impl DockerConfig ===

impl DockerConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// The line where the text stops being one.
    pub fn parse(text: &[u8]) -> Result<Self, usize> {
        serde_json::from_slice(text).map_err(|error| error.line())
    }

    /// The entry for a repository, or nothing.
    ///
    /// # Errors
    /// When the entry is malformed or kept by a credential helper.
    pub fn lookup(&self, image: &Reference) -> Result<Option<Credentials>, AuthError> {
        let found = self.auths.iter().filter_map(|(key, entry)| Some((rank(key, image)?, key, entry)));
        let helper = self.cred_helpers.iter().find(|(key, _)| rank(key, image).is_some());
        let best = found.max_by_key(|(rank, _, _)| *rank);
        if let Some(credentials) = best.map(|(_, key, entry)| entry.credentials(key)).transpose()?.flatten() {
            return Ok(Some(credentials));
        }
        let store = best.and(self.creds_store.as_ref());
        match helper.map(|(_, helper)| helper).or(store) {
            Some(helper) => {
                Err(AuthError::Helper { host: image.registry().to_owned(), helper: helper.clone() })
            }
            None => Ok(None),
        }
    }
}

impl Entry {
    /// Nothing when the entry is empty, as Docker leaves it when a helper keeps the password.
    fn credentials(&self, key: &str) -> Result<Option<Credentials>, AuthError> {
        let text = |secret: &Option<Secret>| secret.clone().filter(|s| !s.0.is_empty());
        if let Some(token) = text(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let Some(token) = text(&self.registrytoken) {
            return Ok(Some(Credentials::Bearer(token)));
        }
        if let (Some(username), Some(password)) =
            (self.username.clone().filter(|u| !u.is_empty()), text(&self.password))
        {
            return Ok(Some(Credentials::Basic { username, password }));
        }
        text(&self.auth).map(|auth| decode(&auth, key)).transpose()
    }
}

fn decode(auth: &Secret, key: &str) -> Result<Credentials, AuthError> {
    let bad = || AuthError::BadAuth { host: key.to_owned() };
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let bytes = engine.decode(auth.0.trim()).map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let (username, password) = text.split_once(':').ok_or_else(bad)?;
    let password = Secret::new(password.trim_end_matches('\0'));
    Ok(Credentials::Basic { username: username.to_owned(), password })
}

/// How well a key of `auths` fits: longer paths fit better, exact hosts better than globs. Nothing when it does not fit.
fn rank(key: &str, image: &Reference) -> Option<(usize, bool)> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    if image.registry() == DOCKER_HUB && hub(host) {
        // `https://index.docker.io/v1/` is the key Docker itself writes: a version, not a path.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        return under(path, image.repository()).then_some((path.len(), true));
    }
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let exact = host == image.registry();
    ((exact || glob(host, image.registry())) && under(path, image.repository()))
        .then_some((path.len(), exact))
}

/// Whether `repository` is `path` or below it.
fn under(path: &str, repository: &str) -> bool {
    path.is_empty()
        || repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Kubelet's globs: label by label, `*` stands for any characters inside one label, ports must be equal.
fn glob(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return false;
    }
    let (pattern, pattern_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    let (patterns, labels): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port
        && patterns.len() == labels.len()
        && patterns.iter().zip(&labels).all(|(pattern, label)| label_fits(pattern, label))
}

fn label_fits(pattern: &str, label: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = label.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else { return false };
            rest = &rest[at + middle.len()..];
        }
    }
    match last {
        Some(last) => rest.ends_with(last),
        None => rest.is_empty(),
    }
}

// === impl Keychain ===

impl Keychain {
    /// Looks into exactly these files.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { configs: Vec::new(), files: files.into_iter().collect() }
    }

    /// Looks into configs that are at hand (pull Secrets), in that order.
    pub fn of_configs(configs: impl IntoIterator<Item = DockerConfig>) -> Self {
        Self { configs: configs.into_iter().collect(), files: Vec::new() }
    }

    /// The usual places: `auth_file`, `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json`, Tekton's credentials,
    /// `$HOME/.docker/config.json`.
    pub fn from_environment(auth_file: Option<PathBuf>) -> Self {
        let env = |key: &str| std::env::var_os(key).filter(|v| !v.is_empty()).map(PathBuf::from);
        let files = [
            auth_file,
            env("REGISTRY_AUTH_FILE"),
            env("DOCKER_CONFIG").map(|dir| dir.join("config.json")),
            Some("/tekton/creds/.docker/config.json".into()),
            env("HOME").map(|home| home.join(".docker/config.json")),
        ];
        Self::of(files.into_iter().flatten())
    }

    /// The credentials for a repository and the file they are from; anonymous when no file has any.
    ///
    /// # Errors
    /// When a file cannot be read or understood.
    pub fn lookup(&self, image: &Reference) -> Result<(Credentials, Option<PathBuf>), AuthError> {
        for config in &self.configs {
            if let Some(credentials) = config.lookup(image)? {
                return Ok((credentials, None));
            }
        }
        for path in &self.files {
            if let Some(credentials) = read(path)?.map(|c| c.lookup(image)).transpose()?.flatten() {
                return Ok((credentials, Some(path.clone())));
            }
        }
        Ok((Credentials::Anonymous, None))
    }
}

/// The file's content; nothing when there is none or it is not ours to read.
fn read(path: &Path) -> Result<Option<DockerConfig>, AuthError> {
    use std::io::Read as _;
    let failed = |source| AuthError::Read { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(failed)?;
    DockerConfig::parse(&text).map(Some).map_err(|line| AuthError::Parse { path: path.to_owned(), line })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(config: &str, image: &str) -> Result<Option<Credentials>, AuthError> {
        DockerConfig::parse(config.as_bytes()).unwrap().lookup(&image.parse().unwrap())
    }

    fn basic(username: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Basic { username: username.into(), password: Secret::new(password) })
    }

    #[test]
    fn the_forms_of_an_entry() {
        let auth = base64::engine::general_purpose::STANDARD.encode("me:pa:ss");
        let config = format!(
            r#"{{"project":"p","auths":{{"a.io":{{"auth":"{auth}"}},"b.io":{{"username":"u","password":"p"}},
                "c.io":{{"identitytoken":"t","auth":"{auth}"}},"d.io":{{"registrytoken":"r"}},"e.io":{{}}}}}}"#
        );
        assert_eq!(lookup(&config, "a.io/x").unwrap(), basic("me", "pa:ss"));
        assert_eq!(lookup(&config, "b.io/x").unwrap(), basic("u", "p"));
        assert_eq!(lookup(&config, "c.io/x").unwrap(), Some(Credentials::Identity(Secret::new("t"))));
        assert_eq!(lookup(&config, "d.io/x").unwrap(), Some(Credentials::Bearer(Secret::new("r"))));
        assert_eq!(lookup(&config, "e.io/x").unwrap(), None);
        assert_eq!(lookup(&config, "f.io/x").unwrap(), None);
    }

    #[test]
    fn the_longest_path_wins_and_globs_match_labels() {
        let entry = |user: &str| format!(r#"{{"username":"{user}","password":"p"}}"#);
        let config = format!(
            r#"{{"auths":{{"https://g.io/v2/":{},"g.io/team":{},"g.io/team/app":{},"*.k.io":{},"x.k.io":{},"h.io:5000":{}}}}}"#,
            entry("host"),
            entry("team"),
            entry("app"),
            entry("glob"),
            entry("exact"),
            entry("port")
        );
        let user = |image: &str| match lookup(&config, image).unwrap() {
            Some(Credentials::Basic { username, .. }) => username,
            _ => String::new(),
        };
        assert_eq!(user("g.io/other/x"), "host");
        assert_eq!(user("g.io/team/x"), "team");
        assert_eq!(user("g.io/teamster/x"), "host");
        assert_eq!(user("g.io/team/app"), "app");
        assert_eq!(user("a.k.io/x"), "glob");
        assert_eq!(user("x.k.io/x"), "exact");
        assert_eq!(user("a.b.k.io/x"), "");
        assert_eq!(user("h.io:5000/x"), "port");
        assert_eq!(user("h.io/x"), "");
    }

    #[test]
    fn docker_hub_by_any_of_its_names() {
        for key in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", "index.docker.io"] {
            let config = format!(r#"{{"auths":{{"{key}":{{"username":"u","password":"p"}}}}}}"#);
            assert_eq!(lookup(&config, "me/app").unwrap(), basic("u", "p"), "{key}");
        }
    }

    #[test]
    fn helpers_are_refused_with_their_name() {
        let config = r#"{"auths":{"a.io":{}},"credsStore":"desktop","credHelpers":{"b.io":"ecr-login"}}"#;
        for (image, helper) in [("a.io/x", "desktop"), ("b.io/x", "ecr-login")] {
            let error = lookup(config, image).unwrap_err().to_string();
            assert!(error.contains(&format!("docker-credential-{helper}")), "{error}");
        }
        assert_eq!(lookup(config, "c.io/x").unwrap(), None);
    }

    #[test]
    fn files_are_tried_in_order_and_errors_show_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&two, r#"{"auths":{"a.io":{"username":"u","password":"hunter2"}}}"#).unwrap();
        let keychain = Keychain::of([one.clone(), two.clone()]);
        let image: Reference = "a.io/x".parse().unwrap();
        assert_eq!(keychain.lookup(&image).unwrap().1, Some(two));
        fs::write(&one, r#"{"auths":{"a.io":{"auth":"hunter2!"}}}"#).unwrap();
        let error = format!("{:?} {:?}", keychain.lookup(&image), basic("u", "hunter2"));
        assert!(!error.contains("hunter2"), "{error}");
        fs::write(&one, "{\"auths\":\n hunter2").unwrap();
        let error = keychain.lookup(&image).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", key in "[a-z.*:/]{0,20}") {
            let _ = DockerConfig::parse(text.as_bytes());
            let _ = rank(&key, &"a.io/b/c".parse().unwrap());
        }
    }
}
