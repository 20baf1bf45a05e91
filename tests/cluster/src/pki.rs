//! Keys and certificates of the components, made anew for each cluster.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::settings::{DOMAIN, NODE, Settings};

/// What has a certificate.
struct Subject<'a> {
    /// File name without extension.
    file: &'a str,
    common_name: &'a str,
    organization: Option<&'a str>,
    names: Vec<String>,
}

/// Group of those who may do everything.
const MASTERS: Option<&str> = Some("system:masters");

/// Makes the authority, all certificates and the key of service accounts in `pki/`, unless they are there.
pub(crate) fn make(settings: &Settings) -> Result<()> {
    let folder = settings.state.join("pki");
    if folder.join("complete").exists() {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "tm-cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    fs::write(folder.join("ca.crt"), authority.self_signed(&key)?.pem())?;
    write_private(&folder.join("ca.key"), key.serialize_pem().as_bytes())?;
    let issuer = Issuer::from_params(&authority, key);
    for subject in subjects(settings) {
        sign(&folder, &issuer, &subject)?;
    }
    let accounts = KeyPair::generate()?;
    write_private(&folder.join("service-accounts.key"), accounts.serialize_pem().as_bytes())?;
    fs::write(folder.join("service-accounts.pub"), accounts.public_key_pem())?;
    fs::write(folder.join("complete"), "")?;
    Ok(())
}

fn subjects(settings: &Settings) -> Vec<Subject<'static>> {
    let address = settings.address();
    let mut api: Vec<String> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"]
            .map(String::from)
            .into();
    api.extend([format!("kubernetes.default.svc.{DOMAIN}"), settings.api_service_address(), address.clone()]);
    let client =
        |file, common_name, organization| Subject { file, common_name, organization, names: Vec::new() };
    vec![
        Subject { file: "apiserver", common_name: "kube-apiserver", organization: None, names: api },
        Subject {
            file: "node",
            common_name: "system:node:lab",
            organization: Some("system:nodes"),
            names: vec![NODE.into(), address],
        },
        client("admin", "admin", MASTERS),
        client("apiserver-kubelet", "kube-apiserver-kubelet-client", MASTERS),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("proxy", "system:kube-proxy", None),
    ]
}

fn sign(folder: &Path, issuer: &Issuer<'_, KeyPair>, subject: &Subject<'_>) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(subject.names.clone())?;
    params.distinguished_name.push(DnType::CommonName, subject.common_name);
    if let Some(organization) = subject.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, issuer)?;
    fs::write(folder.join(format!("{}.crt", subject.file)), certificate.pem())?;
    write_private(&folder.join(format!("{}.key", subject.file)), key.serialize_pem().as_bytes())
}

/// Writes a file that only its owner may read, from its first byte on.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_private_and_nothing_is_made_twice() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let settings = Settings::new(0, root.path().join("state"), root.path().join("cache")).unwrap();
        make(&settings).unwrap();
        let pki = settings.state.join("pki");
        let before = fs::read(pki.join("apiserver.crt")).unwrap();
        make(&settings).unwrap();
        assert_eq!(fs::read(pki.join("apiserver.crt")).unwrap(), before);
        for entry in fs::read_dir(&pki).unwrap() {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|e| e == "key") {
                assert_eq!(
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                    0o600,
                    "{:?}",
                    entry.path()
                );
            }
        }
    }

    #[test]
    fn the_node_s_certificate_names_the_node() {
        let settings = Settings::new(0, "/state".into(), "/cache".into()).unwrap();
        let subjects = subjects(&settings);
        let node = subjects.iter().find(|s| s.file == "node").unwrap();
        assert_eq!(node.common_name, format!("system:node:{NODE}"));
        assert!(node.names.contains(&settings.address()));
    }
}
