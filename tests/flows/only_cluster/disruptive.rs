//! Tests that change the cluster for everybody. They run alone, after the others, and put back what they changed.

use anyhow::{Result, ensure};
use tm_testkit::machine::{Machine, wait_for};

use super::{LIMIT, failed_with};
use crate::{
    support::{get, nothing_left, shell_function},
    target,
};

async fn set_security_context(machine: &Machine, value: &str) -> Result<()> {
    let patch = format!(r#"{{"data":{{"set-security-context":"{value}"}}}}"#);
    let args =
        ["-n", "tekton-pipelines", "patch", "configmap", "feature-flags", "--type=merge", "-p", &patch];
    machine.kubectl(args).await.map(drop)
}

/// Builds and functions comply with Pod Security `restricted`, once Tekton's own containers do.
#[tokio::test]
async fn a_restricted_namespace() -> Result<()> {
    let machine = target().await;
    let label = ["label", "namespace", machine.namespace(), "pod-security.kubernetes.io/enforce=restricted"];
    machine.kubectl(label).await?;
    let flags =
        machine.kubectl(["-n", "tekton-pipelines", "get", "cm", "feature-flags", "-o", "json"]).await?;
    let flags: serde_json::Value = serde_json::from_str(&flags)?;
    let before = flags["data"]["set-security-context"].as_str().unwrap_or("false").to_owned();
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy = ["deploy", "service", "hello", "-f", &folder, "--wait"];
    let judged = async {
        set_security_context(&machine, "false").await?;
        let looked = machine.tm(["doctor", "--no-pods"]).await;
        ensure!(looked.code == 1 && looked.stdout.contains("set-security-context"), "{looked:?}");
        wait_for("Tekton to see the flag", LIMIT, async || {
            failed_with(&machine.tm(deploy).await, &["violates PodSecurity"])
        })
        .await?;
        nothing_left(&machine).await;
        set_security_context(&machine, "true").await?;
        wait_for("Tekton to see the flag", LIMIT, async || {
            let ran = machine.tm(deploy).await;
            ensure!(ran.code == 0, "{ran:?}");
            Ok(())
        })
        .await?;
        ensure!(machine.call("hello", "{}").await?.body == "1");
        let revision = get(&machine, "revision/hello-00001").await?;
        ensure!(revision["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] == true, "{revision}");
        Ok(())
    }
    .await;
    set_security_context(&machine, &before).await?;
    judged
}

/// With the limit raised a function may take as long as on AWS.
#[tokio::test]
async fn time_outs_of_aws() -> Result<()> {
    let machine = target().await;
    let patch = |value: &str| format!(r#"{{"data":{{"max-revision-timeout-seconds":{value}}}}}"#);
    let set = async |value: &str| {
        let patch = patch(value);
        let args =
            ["-n", "knative-serving", "patch", "configmap", "config-defaults", "--type=merge", "-p", &patch];
        machine.kubectl(args).await.map(drop)
    };
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    set("\"920\"").await?;
    let judged = wait_for("the raised limit", LIMIT, async || {
        let ran =
            machine.tm(["deploy", "service", "hello", "-f", &folder, "--timeout", "900", "--wait"]).await;
        ensure!(ran.code == 0, "{ran:?}");
        Ok(())
    })
    .await;
    set("null").await?;
    judged
}
