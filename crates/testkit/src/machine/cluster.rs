//! A namespace of one's own on the cluster that `TM_TEST_CONTEXT` names, and where its functions answer.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::KubeConfigOptions,
};
use serde_json::json;

use super::wait_for;

/// Names the context of the kubeconfig.
pub const CONTEXT: &str = "TM_TEST_CONTEXT";
/// `host[:port]` of the ingress, as the workshop of the first tm called it.
const INGRESS: &str = "KNATIVE_INGRESS";
/// Domain of the cluster's addresses; Knative's usual default when not given.
const DOMAIN: (&str, &str) = ("TM_TEST_DOMAIN", "example.com");
/// Set to 1, namespaces stay when a test has ended, for whoever takes the cluster down.
const KEEP: &str = "TM_TEST_KEEP";
/// Annotation of the namespace with the test's name.
const TEST: &str = "tm.local/test";
/// Longest wait for the controllers that fill a new namespace.
const LIMIT: Duration = Duration::from_secs(60);

/// The namespace; it is deleted when this is dropped, unless that is by a panic: then it says why the test failed.
pub struct Cluster {
    /// Context.
    pub context: String,
    /// Namespace.
    pub namespace: String,
    /// Domain of addresses.
    pub domain: String,
    ingress: SocketAddr,
}

// === impl Cluster ===

impl Cluster {
    /// Makes a namespace and waits until pods can be made in it.
    ///
    /// # Errors
    /// When the variables are not set or the cluster does not answer.
    pub async fn namespace() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let (context, ingress) = (variable(CONTEXT)?, variable(INGRESS)?);
        let address = if ingress.contains(':') { ingress } else { format!("{ingress}:80") };
        let ingress =
            tokio::net::lookup_host(&address).await?.next().context("the ingress has no address")?;
        let domain = std::env::var(DOMAIN.0).unwrap_or_else(|_| DOMAIN.1.into());
        let client = client(&context).await?;
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let new = json!({"metadata": {"generateName": "tm-test-", "annotations": {TEST: test}}});
        let new = serde_json::from_value(new)?;
        let made = namespaces.create(&PostParams::default(), &new).await.context("a namespace")?;
        let namespace = made.metadata.name.context("it has a name")?;
        let cluster = Self { context, namespace: namespace.clone(), domain, ingress };
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client, &namespace);
        wait_for("the namespace's ServiceAccount", LIMIT, async || Ok(accounts.get("default").await?))
            .await?;
        Ok(cluster)
    }

    /// Where functions answer.
    #[must_use]
    pub fn ingress(&self) -> SocketAddr {
        self.ingress
    }

    /// A client of the cluster.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client> {
        client(&self.context).await
    }
}

impl Drop for Cluster {
    /// Asks for the deletion and does not wait for its end. On a thread of its own: a runtime may be running on this one.
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::tools::say(&format!("namespace {} is kept", self.namespace));
            return;
        }
        // A test that returns an error does not panic before this, so only a keeper of all has its namespace.
        if std::env::var_os(KEEP).is_some_and(|keep| keep == "1") {
            return;
        }
        let (context, namespace) = (self.context.clone(), self.namespace.clone());
        let deletion = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client(&context).await?);
                api.delete(&namespace, &DeleteParams::background()).await?;
                Ok(())
            })
        });
        if let Ok(Err(error)) = deletion.join() {
            crate::tools::say(&format!("namespace {} is left: {error:#}", self.namespace));
        }
    }
}

async fn client(context: &str) -> Result<Client> {
    crate::tools::install_tls();
    let options = KubeConfigOptions { context: Some(context.into()), ..KubeConfigOptions::default() };
    let mut config = Config::from_kubeconfig(&options).await.context("the test cluster's kubeconfig")?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
