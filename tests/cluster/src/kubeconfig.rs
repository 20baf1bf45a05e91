//! Kubeconfigs: one per component and one for people, all with a client certificate.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{pki::write_private, settings::Settings};

/// Components with a kubeconfig: file, certificate.
const COMPONENTS: &[(&str, &str)] = &[
    ("controller-manager", "controller-manager"),
    ("scheduler", "scheduler"),
    ("kubelet", "node"),
    ("proxy", "proxy"),
];

/// Writes all of them.
pub(crate) fn write(settings: &Settings) -> Result<()> {
    for (file, certificate) in COMPONENTS {
        write_one(settings, certificate, &settings.state.join(format!("{file}.kubeconfig")))?;
    }
    write_one(settings, "admin", &settings.kubeconfig())
}

/// A client of the API as administrator.
pub(crate) async fn client(settings: &Settings) -> Result<Client> {
    // Somebody may have installed a provider already; any one will do.
    drop(rustls::crypto::ring::default_provider().install_default());
    let kubeconfig = Kubeconfig::read_from(settings.kubeconfig())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // It is next door: a proxy for the outer world is none for it.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

fn write_one(settings: &Settings, certificate: &str, to: &Path) -> Result<()> {
    let pki = |name: &str| fs::read(settings.state.join("pki").join(name));
    let value = kubeconfig(
        settings,
        &pki("ca.crt")?,
        &pki(&format!("{certificate}.crt"))?,
        &pki(&format!("{certificate}.key"))?,
    );
    write_private(to, serde_saphyr::to_string(&value)?.as_bytes())
}

/// Certificates are inside, so the file works wherever it is copied to.
fn kubeconfig(settings: &Settings, authority: &[u8], certificate: &[u8], key: &[u8]) -> Value {
    let name = settings.name();
    let cluster = json!({"server": settings.api(), "certificate-authority-data": base64(authority)});
    let user = json!({"client-certificate-data": base64(certificate), "client-key-data": base64(key)});
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_has_the_cluster_s_name() {
        let settings = Settings::new(2, "/state".into(), "/cache".into()).unwrap();
        let value = kubeconfig(&settings, b"ca", b"crt", b"key");
        assert_eq!(value["current-context"], "tm-cluster-2");
        assert_eq!(value["clusters"][0]["cluster"]["server"], "https://10.99.2.1:6443");
        assert_eq!(value["users"][0]["user"]["client-key-data"], "a2V5");
    }
}
