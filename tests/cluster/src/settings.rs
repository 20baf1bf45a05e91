//! Where a cluster lives and what it is called: folders, names, addresses. Everything else is derived from here.
//!
//! A number tells clusters on one machine apart. Number 0 is the default one; the others have it in their names and
//! addresses.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use etcetera::BaseStrategy as _;

/// Moves the state folder.
const STATE: &str = "TM_CLUSTER_STATE";
/// Moves the cache.
const CACHE: &str = "TM_CLUSTER_CACHE";
/// Number of the cluster on this machine, 0 to 9.
const NUMBER: &str = "TM_CLUSTER_NUMBER";

/// Name of the node.
pub(crate) const NODE: &str = "lab";
/// The cluster's DNS domain.
pub(crate) const DOMAIN: &str = "cluster.local";
/// Domain of functions' public names.
pub(crate) const FUNCTIONS_DOMAIN: &str = "example.com";
/// Port of the API server.
pub(crate) const API_PORT: u16 = 6443;
/// Port of the registry that asks nobody.
pub(crate) const OPEN_REGISTRY: u16 = 5000;
/// Port of the registry with a password.
pub(crate) const CLOSED_REGISTRY: u16 = 5001;
/// User of the registry with a password.
pub(crate) const REGISTRY_USER: &str = "tm";

/// One cluster's place.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Everything of a running cluster.
    pub(crate) state: PathBuf,
    /// What the next cluster can use again.
    pub(crate) cache: PathBuf,
    number: u8,
}

// === impl Settings ===

impl Settings {
    /// From the environment.
    pub(crate) fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let number = match variable(NUMBER) {
            None => 0,
            Some(text) => text.to_string_lossy().parse().with_context(|| format!("{NUMBER} is no number"))?,
        };
        let folders = etcetera::base_strategy::Xdg::new().context("this user has no home folder")?;
        let name = name_of(number);
        let state = folders.state_dir().unwrap_or_else(|| folders.data_dir()).join(&name);
        let place = |moved: &str, default: PathBuf| variable(moved).map_or(default, PathBuf::from);
        Self::new(number, place(STATE, state), place(CACHE, folders.cache_dir().join("tm-cluster")))
    }

    /// A cluster with these folders.
    pub(crate) fn new(number: u8, state: PathBuf, cache: PathBuf) -> Result<Self> {
        ensure!(number <= 9, "{NUMBER} is {number}, and 9 is the highest");
        for folder in [&state, &cache] {
            ensure!(folder.is_absolute(), "`{}` is not an absolute path", folder.display());
            // Paths get into configuration files of several kinds; these fit all of them as they are.
            let plain = folder
                .to_str()
                .is_some_and(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)));
            ensure!(plain, "`{}` has characters that not every component can take", folder.display());
        }
        Ok(Self { state, cache, number })
    }

    /// The cluster's number.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// Name of the network namespace, the cgroup, the nft table and the kubeconfig's context.
    pub(crate) fn name(&self) -> String {
        name_of(self.number)
    }

    /// The node's address, which every server listens on.
    pub(crate) fn address(&self) -> String {
        format!("10.99.{}.1", self.number)
    }

    /// This machine's address beside the node.
    pub(crate) fn outside_address(&self) -> String {
        format!("10.99.{}.254", self.number)
    }

    /// The network of both.
    pub(crate) fn host_network(&self) -> String {
        format!("10.99.{}.0/24", self.number)
    }

    /// The pods' network.
    pub(crate) fn pod_network(&self) -> String {
        format!("10.{}.0.0/16", 80 + self.number)
    }

    /// The Services' network.
    pub(crate) fn service_network(&self) -> String {
        format!("10.{}.0.0/16", 100 + self.number)
    }

    /// The API server's own Service.
    pub(crate) fn api_service_address(&self) -> String {
        format!("10.{}.0.1", 100 + self.number)
    }

    /// This machine's end of the cable into the namespace.
    pub(crate) fn outside_link(&self) -> String {
        format!("tmc{}", self.number)
    }

    /// The namespace's file.
    pub(crate) fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(self.name())
    }

    /// `https://…` of the API.
    pub(crate) fn api(&self) -> String {
        format!("https://{}:{API_PORT}", self.address())
    }

    /// `host:port` of the registry that asks nobody.
    pub(crate) fn open_registry(&self) -> String {
        format!("{}:{OPEN_REGISTRY}", self.address())
    }

    /// `host:port` of the registry with a password.
    pub(crate) fn closed_registry(&self) -> String {
        format!("{}:{CLOSED_REGISTRY}", self.address())
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// The password of the second registry.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.state.join("registry/password")
    }

    /// Logs of the components.
    pub(crate) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Logs of the pods.
    pub(crate) fn pod_logs(&self) -> PathBuf {
        self.state.join("pod-logs")
    }

    /// A file below the state folder as text.
    pub(crate) fn text(&self, below: &str) -> String {
        self.state.join(below).display().to_string()
    }
}

fn name_of(number: u8) -> String {
    if number == 0 { "tm-cluster".to_owned() } else { format!("tm-cluster-{number}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: u8) -> Settings {
        Settings::new(number, "/state".into(), "/cache".into()).unwrap()
    }

    #[test]
    fn two_clusters_share_nothing() {
        let (a, b) = (numbered(0), numbered(1));
        assert_ne!(a.name(), b.name());
        assert_ne!(a.outside_link(), b.outside_link());
        for of in [Settings::host_network, Settings::pod_network, Settings::service_network] {
            assert_ne!(of(&a), of(&b));
        }
    }

    #[test]
    fn the_networks_of_all_clusters_are_apart() {
        let mut all: Vec<String> = (0..=9)
            .map(numbered)
            .flat_map(|s| [s.host_network(), s.pod_network(), s.service_network()])
            .collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn folders_that_would_break_a_configuration_file_are_refused() {
        for folder in ["relative", "/with space", "/quo\"te", "/a\nb"] {
            assert!(Settings::new(0, folder.into(), "/cache".into()).is_err(), "{folder}");
        }
        assert!(Settings::new(10, "/state".into(), "/cache".into()).is_err());
    }
}
