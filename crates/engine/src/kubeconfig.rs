//! The entry of this machine in the user's kubeconfig: context, cluster and user `tm-local`.
//!
//! Everything else in the file stays as it is. The file is replaced as a whole and only when something changes, so
//! that comments survive an engine that merely starts again.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::api::auth::write_private;

/// Name of the context, the cluster and the user.
pub const NAME: &str = "tm-local";
/// How often kubectl's lock is tried, and how long to wait in between.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// How the API is reached.
#[derive(Clone, Debug)]
pub struct Entry {
    /// URL, such as `https://127.0.0.1:3003`.
    pub server: String,
    /// Certificate of the authority, as PEM.
    pub authority: String,
    /// Bearer token.
    pub token: crate::api::auth::Token,
}

/// Why the kubeconfig was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// There is neither `$KUBECONFIG` nor a home directory.
    #[error("there is no home directory to keep a kubeconfig in")]
    NoHome,
    /// The file cannot be read or written.
    #[error("cannot update the kubeconfig")]
    Io(#[from] io::Error),
    /// The file is not a kubeconfig.
    #[error("the kubeconfig {path} is not understood: {detail}")]
    NotUnderstood {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// Another program holds kubectl's lock.
    #[error("the kubeconfig is locked by {0}; remove that file if no kubectl is running")]
    Locked(String),
}

/// The file kubectl would write to: the first of `$KUBECONFIG`, else `~/.kube/config`.
///
/// # Errors
/// [`KubeconfigError::NoHome`].
pub fn default_path() -> Result<PathBuf, KubeconfigError> {
    path_from(env::var_os("KUBECONFIG"), etcetera::home_dir().ok())
}

fn path_from(variable: Option<OsString>, home: Option<PathBuf>) -> Result<PathBuf, KubeconfigError> {
    let first = variable.iter().flat_map(env::split_paths).find(|path| !path.as_os_str().is_empty());
    let path = first.or_else(|| home.map(|home| home.join(".kube/config")));
    path.ok_or(KubeconfigError::NoHome)
}

/// Puts the entry in. It becomes the current context only when there is none. Says whether the file was changed.
///
/// # Errors
/// [`KubeconfigError`]; the file is then as it was.
pub fn install(path: &Path, entry: &Entry) -> Result<bool, KubeconfigError> {
    edit(path, |config| {
        let ca = BASE64_STANDARD.encode(&entry.authority);
        put(config, "clusters", "cluster", json!({"server": entry.server, "certificate-authority-data": ca}));
        put(config, "users", "user", json!({"token": entry.token.reveal()}));
        put(config, "contexts", "context", json!({"cluster": NAME, "user": NAME}));
        if config.get("current-context").and_then(Value::as_str).unwrap_or_default().is_empty() {
            config["current-context"] = NAME.into();
        }
    })
}

/// Takes the entry out. Says whether the file was changed.
///
/// # Errors
/// [`KubeconfigError`]; the file is then as it was.
pub fn remove(path: &Path) -> Result<bool, KubeconfigError> {
    if !path.exists() {
        return Ok(false);
    }
    edit(path, |config| {
        for list in ["clusters", "users", "contexts"] {
            if let Some(entries) = config.get_mut(list).and_then(Value::as_array_mut) {
                entries.retain(|entry| entry["name"] != NAME);
            }
        }
        if config.get("current-context").is_some_and(|current| current == NAME) {
            config["current-context"] = "".into();
        }
    })
}

/// Sets what belongs to us in a named entry; a namespace the user chose for the context stays.
fn put(config: &mut Value, list: &str, field: &str, value: Value) {
    if !config.get(list).is_some_and(Value::is_array) {
        config[list] = json!([]);
    }
    let Some(entries) = config[list].as_array_mut() else { return };
    match entries.iter_mut().find(|entry| entry["name"] == NAME) {
        Some(entry) => {
            if !entry.get(field).is_some_and(Value::is_object) {
                entry[field] = json!({});
            }
            for (key, value) in value.as_object().into_iter().flatten() {
                entry[field][key] = value.clone();
            }
        }
        None => entries.push(json!({"name": NAME, field: value})),
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) -> Result<bool, KubeconfigError> {
    // A link stays a link: what it points to is replaced.
    let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let _lock = Lock::take(&path)?;
    let old = read(&path)?;
    let mut new = old.clone().unwrap_or_else(|| json!({"apiVersion": "v1", "kind": "Config"}));
    change(&mut new);
    if old.as_ref() == Some(&new) {
        return Ok(false);
    }
    let text = serde_saphyr::to_string(&new).map_err(|e| KubeconfigError::NotUnderstood {
        path: path.display().to_string(),
        detail: e.to_string(),
    })?;
    write_private(&path, text.as_bytes())?;
    Ok(true)
}

fn read(path: &Path) -> Result<Option<Value>, KubeconfigError> {
    let text = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let wrong = |detail: String| KubeconfigError::NotUnderstood { path: path.display().to_string(), detail };
    let value: Value = serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    if value.is_object() { Ok(Some(value)) } else { Err(wrong("it is not a map".into())) }
}

/// kubectl's own lock: a file beside the kubeconfig.
struct Lock(PathBuf);

// === impl Lock ===

impl Lock {
    fn take(path: &Path) -> Result<Self, KubeconfigError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        for _ in 0..LOCK_TRIES {
            match fs_err::OpenOptions::new().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
        Err(KubeconfigError::Locked(lock.display().to_string()))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = fs_err::remove_file(&self.0) {
            tracing::warn!(%error, "cannot remove the lock of the kubeconfig");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &str = "apiVersion: v1\nkind: Config\npreferences: {colors: true}\ncurrent-context: prod\nclusters:\n- \
                          name: prod\n  cluster: {server: 'https://prod', x-extra: [1, 'two']}\nusers:\n- name: me\n  \
                          user:\n    exec: {command: login, args: ['yes', '0123', 'on']}\ncontexts:\n- name: prod\n  \
                          context: {cluster: prod, user: me}\n";

    fn entry() -> Entry {
        Entry {
            server: "https://127.0.0.1:3003".into(),
            authority: "PEM".into(),
            token: crate::api::auth::Token::new("secret"),
        }
    }

    fn value(path: &Path) -> Value {
        serde_saphyr::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn everything_else_survives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs_err::write(&path, OTHERS).unwrap();
        let before = value(&path);
        assert!(install(&path, &entry()).unwrap());
        let with = value(&path);
        assert_eq!(with["current-context"], "prod");
        assert_eq!(with["clusters"][0], before["clusters"][0]);
        assert_eq!(with["users"][0], before["users"][0]);
        assert_eq!(with["users"][1], json!({"name": NAME, "user": {"token": "secret"}}));
        assert!(!install(&path, &entry()).unwrap(), "nothing changes the second time");
        assert!(remove(&path).unwrap());
        assert_eq!(value(&path), before);
    }

    #[test]
    fn a_new_file_is_private_and_has_a_current_context() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/config");
        assert!(!remove(&path).unwrap());
        install(&path, &entry()).unwrap();
        assert_eq!(value(&path)["current-context"], NAME);
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!dir.path().join("deep/config.lock").exists());
        remove(&path).unwrap();
        assert_eq!(value(&path)["current-context"], "");
    }

    #[test]
    fn a_link_stays_a_link_and_the_namespace_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (link, real) = (dir.path().join("link"), dir.path().join("real"));
        install(&real, &entry()).unwrap();
        let mut config = value(&real);
        config["contexts"][0]["context"]["namespace"] = "mine".into();
        fs_err::write(&real, config.to_string()).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let moved = Entry { server: "https://127.0.0.1:4".into(), ..entry() };
        install(&link, &moved).unwrap();
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(value(&real)["contexts"][0]["context"]["namespace"], "mine");
        assert_eq!(value(&real)["clusters"][0]["cluster"]["server"], "https://127.0.0.1:4");
    }

    #[test]
    fn a_sparse_file_stays_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs_err::write(&path, "apiVersion: v1\n").unwrap();
        assert!(!remove(&path).unwrap());
        fs_err::write(&path, "apiVersion: v1\nclusters: null\ncontexts: [{name: tm-local}]\n").unwrap();
        install(&path, &entry()).unwrap();
        assert_eq!(
            value(&path)["contexts"],
            json!([{"name": NAME, "context": {"cluster": NAME, "user": NAME}}])
        );
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        for text in ["a: [", "- 1\n", "just text"] {
            fs_err::write(&path, text).unwrap();
            assert!(matches!(install(&path, &entry()), Err(KubeconfigError::NotUnderstood { .. })), "{text}");
            assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn where_the_file_is() {
        let home = Some(PathBuf::from("/home/me"));
        assert_eq!(path_from(None, home.clone()).unwrap(), Path::new("/home/me/.kube/config"));
        assert_eq!(path_from(Some(":/a:/b".into()), home.clone()).unwrap(), Path::new("/a"));
        assert_eq!(path_from(Some("".into()), home).unwrap(), Path::new("/home/me/.kube/config"));
        assert!(matches!(path_from(None, None), Err(KubeconfigError::NoHome)));
    }
}
