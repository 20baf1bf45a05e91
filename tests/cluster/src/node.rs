//! The node: containerd, its network plugin, kubelet and kube-proxy, with their configuration files.

use std::{path::Path, time::Duration};

use anyhow::Result;
use fs_err as fs;
use serde_json::{Value, json};

use crate::{
    cgroups,
    command::Program,
    daemons::{Daemon, wait_ready},
    network,
    programs::Programs,
    registries,
    settings::{DOMAIN, NODE, Settings},
};

/// What is stopped with the node, in this order.
pub(crate) const NAMES: &[&str] = &["kubelet", "kube-proxy"];
/// Stopped last: it holds the containers.
pub(crate) const RUNTIME: &str = "containerd";
/// Name of the pods' network; files in `/var/lib/cni` begin with it.
pub(crate) const POD_NETWORK: &str = "tm-pods";
/// The image that holds a pod's namespaces.
pub(crate) const PAUSE: &str = "dev.local/pause:1";
/// `CAP_SYS_RESOURCE` in a capability set.
const SYS_RESOURCE: u64 = 1 << 24;
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts containerd and waits for its socket.
pub(crate) async fn start_runtime(settings: &Settings) -> Result<()> {
    let folder = settings.state.join("containerd");
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(settings.state.join("cni"))?;
    registries::trust(settings)?;
    let conflist = serde_json::to_vec_pretty(&pod_network(settings, network::mtu().await?))?;
    fs::write(settings.state.join("cni/10-pods.conflist"), conflist)?;
    let config = folder.join("config.toml");
    fs::write(&config, runtime_config(settings, may_lower_oom_score()?))?;
    Daemon::new(RUNTIME, "containerd").arg("--config").arg(&config).start(settings)?;
    let answers = || async { ctr(settings).arg("version").limit(Duration::from_secs(5)).run().await.is_ok() };
    wait_ready(settings, RUNTIME, PATIENCE, answers).await
}

/// Starts kubelet and kube-proxy.
pub(crate) fn start_agents(settings: &Settings, programs: &Programs) -> Result<()> {
    let kubelet = settings.state.join("kubelet.yaml");
    fs::write(settings.state.join("resolv.conf"), format!("nameserver {}\n", settings.address()))?;
    write_changed(&kubelet, &serde_saphyr::to_string(&kubelet_config(settings, cgroups::has_version_1()?))?)?;
    Daemon::new("kubelet", programs.kubernetes("kubelet"))
        .arg(format!("--config={}", kubelet.display()))
        .arg(format!("--kubeconfig={}", settings.text("kubelet.kubeconfig")))
        .arg(format!("--hostname-override={NODE}"))
        .arg(format!("--node-ip={}", settings.address()))
        .arg(format!("--root-dir={}", settings.text("kubelet")))
        .arg(format!("--cert-dir={}", settings.text("kubelet-pki")))
        .start(settings)?;
    let proxy = settings.state.join("kube-proxy.yaml");
    write_changed(&proxy, &serde_saphyr::to_string(&proxy_config(settings))?)?;
    Daemon::new("kube-proxy", programs.kubernetes("kube-proxy"))
        .arg(format!("--config={}", proxy.display()))
        .start(settings)
}

/// Leaves a file with that content alone: kube-proxy ends when its own is written.
fn write_changed(file: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(file).is_ok_and(|before| before == text) {
        return Ok(());
    }
    Ok(fs::write(file, text)?)
}

/// containerd's own client.
pub(crate) fn ctr(settings: &Settings) -> Program {
    Program::new("ctr").args(["--address", &socket(settings), "--namespace", "k8s.io"])
}

fn socket(settings: &Settings) -> String {
    settings.text("containerd/containerd.sock")
}

/// runc lowers `oom_score_adj` of the processes that hold pods, which needs a capability that not every machine has.
fn may_lower_oom_score() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(capabilities(&status) & SYS_RESOURCE != 0)
}

fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn runtime_config(settings: &Settings, may_lower_oom_score: bool) -> String {
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{socket}"

[ttrpc]
  address = "{socket}.ttrpc"

[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = {restrict}
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  discard_unpacked_layers = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{certs}"
"#,
        root = settings.text("containerd/root"),
        state = settings.text("containerd/state"),
        opt = settings.text("containerd/opt"),
        cni = settings.text("cni"),
        certs = settings.text("containerd/certs.d"),
        socket = socket(settings),
        restrict = !may_lower_oom_score,
    )
}

fn pod_network(settings: &Settings, mtu: u64) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": POD_NETWORK,
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": settings.pod_network()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": settings.text("cni/addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet_config(settings: &Settings, has_cgroup_v1: bool) -> Value {
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.address(),
        "containerRuntimeEndpoint": format!("unix://{}", socket(settings)),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", settings.name()),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "authentication": {
            "anonymous": {"enabled": false},
            "x509": {"clientCAFile": settings.text("pki/ca.crt")},
            "webhook": {"enabled": true},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": settings.text("pki/node.crt"),
        "tlsPrivateKeyFile": settings.text("pki/node.key"),
        "clusterDNS": [settings.address()],
        "clusterDomain": DOMAIN,
        "resolvConf": settings.text("resolv.conf"),
        "podLogsDir": settings.pod_logs(),
        "volumePluginDir": settings.text("kubelet-plugins"),
        // Images come from our own files: one that was deleted would not come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        // 0% is off. The disk is the whole machine's: short of space, kubelet would remove images that cannot be pulled.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%",
        },
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "maxPods": 110,
    });
    if has_cgroup_v1 {
        config["failCgroupV1"] = false.into();
    }
    config
}

fn proxy_config(settings: &Settings) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": settings.text("proxy.kubeconfig")},
        "clusterCIDR": settings.pod_network(),
        "hostnameOverride": NODE,
        "conntrack": {"maxPerCore": 0},
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    })
}

/// What containers left in folders that cannot be moved.
pub(crate) fn remove_strays(settings: &Settings) -> Result<()> {
    let ours = |path: &Path| fs::read_link(path).is_ok_and(|to| to.starts_with(settings.pod_logs()));
    remove_if(Path::new("/var/log/containers"), ours)?;
    let gone = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(POD_NETWORK))
            && text.contains(&settings.text("cni/addresses"))
    };
    remove_if(Path::new("/var/lib/cni/results"), gone)
}

fn remove_if(folder: &Path, condition: impl Fn(&Path) -> bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| condition(path)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new(0, "/state".into(), "/cache".into()).unwrap()
    }

    #[test]
    fn a_missing_capability_is_seen() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n") & SYS_RESOURCE, 0);
        assert_ne!(capabilities("CapEff:\t000001ffffffffff\n") & SYS_RESOURCE, 0);
        assert!(runtime_config(&settings(), false).contains("restrict_oom_score_adj = true"));
    }

    #[test]
    fn a_second_up_does_not_touch_what_is_watched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = || fs::metadata(file.path()).unwrap().modified().unwrap();
        write_changed(file.path(), "a").unwrap();
        let before = written();
        write_changed(file.path(), "a").unwrap();
        assert_eq!(written(), before);
        write_changed(file.path(), "b").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "b");
    }

    #[test]
    fn kubelet_is_told_about_version_1_only_where_there_is_one() {
        assert_eq!(kubelet_config(&settings(), true)["failCgroupV1"], false);
        assert_eq!(kubelet_config(&settings(), false).get("failCgroupV1"), None);
    }

    #[test]
    fn everything_the_runtime_writes_is_in_the_state_folder() {
        let config = runtime_config(&settings(), true);
        for key in ["root", "state", "  address", "  path", "  conf_dir", "  config_path"] {
            let value = config.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
            assert!(value.is_some_and(|value| value.starts_with("\"/state/")), "{key}: {value:?}");
        }
    }
}
