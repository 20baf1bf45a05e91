//! etcd, the API server, the controller manager and the scheduler.

use std::time::Duration;

use anyhow::Result;
use kube::Client;

use crate::{
    daemons::{Daemon, wait_ready},
    programs::Programs,
    settings::{API_PORT, Settings},
};

/// What is stopped with the control plane, in this order.
pub(crate) const NAMES: &[&str] = &["kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"];
const ETCD_PORT: u16 = 2379;
const ETCD_PEER_PORT: u16 = 2380;
/// Longest time until the API answers.
const PATIENCE: Duration = Duration::from_secs(90);

/// Starts etcd and the API server and waits until the API is ready.
pub(crate) async fn start_api(settings: &Settings, programs: &Programs, client: &Client) -> Result<()> {
    let peer = format!("http://127.0.0.1:{ETCD_PEER_PORT}");
    Daemon::new("etcd", "etcd")
        .arg("--name=lab")
        .arg(format!("--data-dir={}", settings.text("etcd")))
        .arg(format!("--listen-client-urls={}", etcd()))
        .arg(format!("--advertise-client-urls={}", etcd()))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=lab={peer}"))
        // Nothing here outlives the machine.
        .arg("--unsafe-no-fsync")
        // Debian's 3.4 asks for this on some architectures and ignores it on others.
        .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
        .start(settings)?;
    Daemon::new("kube-apiserver", programs.kubernetes("kube-apiserver"))
        .args(api_flags(settings))
        .start(settings)?;
    let ready = || async {
        let request = http::Request::get("/readyz").body(Vec::new()).ok();
        let Some(request) = request else { return false };
        client.request_text(request).await.is_ok_and(|text| text == "ok")
    };
    wait_ready(settings, "kube-apiserver", PATIENCE, ready).await
}

/// Starts what turns Deployments into pods and pods into work for the node.
pub(crate) fn start_controllers(settings: &Settings, programs: &Programs) -> Result<()> {
    let pki = |file: &str| settings.text(&format!("pki/{file}"));
    Daemon::new("kube-controller-manager", programs.kubernetes("kube-controller-manager"))
        .arg(format!("--kubeconfig={}", settings.text("controller-manager.kubeconfig")))
        .arg("--use-service-account-credentials")
        .arg(format!("--root-ca-file={}", pki("ca.crt")))
        .arg(format!("--service-account-private-key-file={}", pki("service-accounts.key")))
        .args(["--leader-elect=false", "--allocate-node-cidrs=false"])
        // One node, no cloud.
        .arg("--controllers=*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,-service-lb-controller")
        .args(["--bind-address=127.0.0.1", "--profiling=false"])
        .start(settings)?;
    Daemon::new("kube-scheduler", programs.kubernetes("kube-scheduler"))
        .arg(format!("--kubeconfig={}", settings.text("scheduler.kubeconfig")))
        .args(["--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"])
        .start(settings)
}

fn etcd() -> String {
    format!("http://127.0.0.1:{ETCD_PORT}")
}

fn api_flags(settings: &Settings) -> Vec<String> {
    let pki = |file: &str| settings.text(&format!("pki/{file}"));
    vec![
        format!("--etcd-servers={}", etcd()),
        format!("--advertise-address={}", settings.address()),
        format!("--secure-port={API_PORT}"),
        format!("--service-cluster-ip-range={}", settings.service_network()),
        "--allow-privileged=true".into(),
        "--authorization-mode=Node,RBAC".into(),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        "--kubelet-preferred-address-types=InternalIP,Hostname".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        // Webhooks are called at the pods' addresses.
        "--enable-aggregator-routing=true".into(),
        "--endpoint-reconciler-type=master-count".into(),
        "--profiling=false".into(),
    ]
}
