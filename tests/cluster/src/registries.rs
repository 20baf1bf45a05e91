//! Two registries, both plain HTTP: one that asks nobody, and one with a password.

use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use serde_json::{Value, json};

use crate::{
    command::Program,
    daemons::{Daemon, wait_ready},
    pki::write_private,
    settings::{REGISTRY_USER, Settings},
};

/// Names of the components.
pub(crate) const NAMES: &[&str] = &["registry", "registry-with-password"];
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts both and waits until they listen.
pub(crate) async fn start(settings: &Settings) -> Result<()> {
    let folder = settings.state.join("registry");
    fs::create_dir_all(&folder)?;
    make_password(settings).await?;
    for (name, address) in NAMES.iter().zip([settings.open_registry(), settings.closed_registry()]) {
        let with_password = *name == NAMES[1];
        let file = folder.join(format!("{name}.yaml"));
        fs::write(&file, serde_saphyr::to_string(&config(settings, name, &address, with_password))?)?;
        Daemon::new(name, "docker-registry")
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .start(settings)?;
        let answers = || async { tokio::net::TcpStream::connect(&address).await.is_ok() };
        wait_ready(settings, name, PATIENCE, answers).await?;
    }
    Ok(())
}

/// Tells containerd that both speak plain HTTP.
pub(crate) fn trust(settings: &Settings) -> Result<()> {
    for registry in [settings.open_registry(), settings.closed_registry()] {
        let folder = settings.state.join("containerd/certs.d").join(&registry);
        fs::create_dir_all(&folder)?;
        let hosts = format!(
            "server = \"http://{registry}\"\n\n[host.\"http://{registry}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        fs::write(folder.join("hosts.toml"), hosts)?;
    }
    Ok(())
}

/// A password of this cluster's own, as a file for people and as a hash for the registry.
async fn make_password(settings: &Settings) -> Result<()> {
    let hashes = settings.state.join("registry/htpasswd");
    if hashes.exists() {
        return Ok(());
    }
    let password = uuid::Uuid::new_v4().simple().to_string();
    write_private(&settings.password_file(), password.as_bytes())?;
    let hash = Program::new("htpasswd").args(["-B", "-i", "-n", REGISTRY_USER]).input(password).run().await?;
    write_private(&hashes, &hash)
}

fn config(settings: &Settings, name: &str, address: &str, with_password: bool) -> Value {
    let mut config = json!({
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": settings.text(&format!("registry/{name}"))},
            "delete": {"enabled": true},
        },
        "http": {"addr": address, "secret": uuid::Uuid::new_v4().simple().to_string()},
    });
    if with_password {
        config["auth"] =
            json!({"htpasswd": {"realm": "tm-cluster", "path": settings.text("registry/htpasswd")}});
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_second_asks_for_a_password() {
        let settings = Settings::new(0, "/state".into(), "/cache".into()).unwrap();
        assert_eq!(config(&settings, "a", "x:1", false).get("auth"), None);
        assert_eq!(
            config(&settings, "b", "x:2", true)["auth"]["htpasswd"]["path"],
            "/state/registry/htpasswd"
        );
    }
}
