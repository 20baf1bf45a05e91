//! A [`ContainerSpec`] in Docker's words.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountType,
};
use nix::unistd::{getgid, getuid};

use super::super::{ContainerSpec, process::container_identity};
use crate::sandbox::Mount;

/// Label: the state folder of the engine a container belongs to.
pub(super) const OWNER: &str = "tm.dev/engine";
/// Label: whose container it is, for people.
const NAMESPACE: &str = "tm.dev/namespace";
/// Likewise.
const POD: &str = "tm.dev/pod";
/// Likewise.
const CONTAINER: &str = "tm.dev/container";

/// Most processes and threads in a container: enough for any build, too few to choke the machine.
const PIDS_LIMIT: i64 = 4096;

/// What Docker is asked to make.
pub(super) fn create_body(spec: &ContainerSpec, owner: &str) -> ContainerCreateBody {
    let (program, args) = spec.command.split_at(spec.command.len().min(1));
    let labels = [
        (OWNER, owner),
        (NAMESPACE, &spec.id.namespace),
        (POD, &spec.id.pod),
        (CONTAINER, &spec.id.container),
    ];
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    ContainerCreateBody {
        image: Some(spec.image.id.clone()),
        entrypoint: Some(program.to_vec()),
        cmd: Some(args.to_vec()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: Some(user()),
        working_dir: Some(spec.cwd.display().to_string()),
        labels: Some(labels.map(text).into_iter().collect::<HashMap<_, _>>()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        // Readiness is the kubelet's business.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        host_config: Some(host_config(&spec.mounts)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(mounts: &[Mount]) -> HostConfig {
    HostConfig {
        network_mode: Some("host".into()),
        mounts: Some(mounts.iter().map(bind).collect()),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges".into()]),
        pids_limit: Some(PIDS_LIMIT),
        // The output is read from the attached streams into the pod's own log, which is bounded.
        log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
        ..HostConfig::default()
    }
}

fn bind(mount: &Mount) -> DockerMount {
    DockerMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.display().to_string()),
        target: Some(mount.target.display().to_string()),
        read_only: Some(!mount.writable),
        ..DockerMount::default()
    }
}

/// The owner of the pod's folders: the containers' user, or the engine's own when it is not root.
fn user() -> String {
    match container_identity() {
        Some(identity) => format!("{}:{}", identity.uid, identity.gid),
        None => format!("{}:{}", getuid(), getgid()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        node::ContainerRef,
        runner::{image::Image, log::ContainerLog},
    };

    fn spec(command: &[&str]) -> ContainerSpec {
        ContainerSpec {
            id: ContainerRef {
                namespace: "default".into(),
                pod: "p".into(),
                uid: "u".into(),
                container: "c".into(),
            },
            pod_dir: "/pods/u".into(),
            image: Image { id: "sha256:1".into(), ..Image::default() },
            command: command.iter().map(|&word| word.into()).collect(),
            env: vec![("A".into(), "b=c".into())],
            cwd: "/var/task".into(),
            exec_failure: None,
            mounts: vec![Mount { source: "/pods/u/tmp".into(), target: "/tmp".into(), writable: true }],
            port: Some(1),
            log: Arc::new(ContainerLog::new("/pods/u/log/c.log".into())),
        }
    }

    #[test]
    fn a_container_has_no_rights_it_does_not_need() {
        let body = create_body(&spec(&["run", "it", "now"]), "/state");
        assert_eq!(body.entrypoint, Some(vec!["run".to_owned()]));
        assert_eq!(body.cmd, Some(vec!["it".to_owned(), "now".to_owned()]));
        assert_eq!(body.env, Some(vec!["A=b=c".to_owned()]));
        assert_eq!(body.labels.unwrap().get(OWNER).map(String::as_str), Some("/state"));
        assert!(body.user.is_some_and(|user| !user.starts_with("0:")));
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.privileged, None);
        let mount = &host.mounts.unwrap()[0];
        assert_eq!((mount.typ, mount.read_only), (Some(MountType::BIND), Some(false)));
    }
}
