//! Who may do what: rights that are missing, credentials that are no good, namespaces that are not there.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tm_testkit::machine::{Machine, wait_for};

use super::{LIMIT, failed_with, kubeconfig, write_config};
use crate::{
    support::{apply, shell_function},
    target,
};

/// A kubeconfig of a new ServiceAccount.
async fn account(machine: &Machine, name: &str) -> Result<String> {
    machine.kubectl(["create", "serviceaccount", name]).await?;
    let token = machine.kubectl(["create", "token", name, "--duration", "1h"]).await?;
    let mut config = kubeconfig(machine).await?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    write_config(machine, &format!("{name}.json"), &config)
}

/// The Role that `tm setup` prints is enough for a whole deploy and a whole `tm doctor`.
#[tokio::test]
async fn the_role_of_setup_is_enough() -> Result<()> {
    let machine = target().await;
    let config = account(&machine, "jane").await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy = ["--config", &config, "deploy", "service", "hello", "-f", &folder, "--wait"];

    let refused = machine.tm(deploy).await;
    failed_with(&refused, &["cannot", "tasks", "tm setup --dry"])?;
    let looked = machine.tm(["--config", &config, "doctor", "--no-pods"]).await;
    ensure!(looked.code == 1, "{looked:?}");
    ensure!(looked.stdout.contains("uploading the source: may not get/create pods/exec"), "{looked:?}");

    let role = machine.tm_ok(["setup", "--dry", "--service-account", "jane", "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&role)?;
    let ours = list["items"].as_array().context("a list")?;
    let ours: Vec<_> = ours.iter().filter(|item| item["metadata"]["name"] == "tm-user").collect();
    apply(&machine, &json!({"apiVersion": "v1", "kind": "List", "items": ours}).to_string()).await?;
    let ran = wait_for("the rights to arrive", LIMIT, async || {
        let looked = machine.tm(["--config", &config, "doctor", "--no-pods"]).await;
        ensure!(looked.code == 0, "{looked:?}");
        Ok(machine.tm(deploy).await)
    })
    .await?;
    ensure!(ran.code == 0, "{ran:?}");
    ensure!(machine.call("hello", "{}").await?.body == "1");
    let looked = machine.tm_ok(["--config", &config, "doctor"]).await?;
    for line in ["ok     webhooks", "ok     push", "ok     pull", "note   ingress      you may not look"] {
        ensure!(looked.contains(line), "no `{line}` in:\n{looked}");
    }
    for line in ["logs hello", "describe service hello", "get revisions", "delete service hello"] {
        let args = ["--config", &config].into_iter().chain(line.split(' '));
        machine.tm_ok(args).await.with_context(|| line.to_owned())?;
    }
    Ok(())
}

/// A Role without `create` on `pods/exec`: the verb is named.
#[tokio::test]
async fn a_missing_verb_is_named() -> Result<()> {
    let machine = target().await;
    let config = account(&machine, "joe").await?;
    let dry = machine.tm_ok(["setup", "--dry", "--service-account", "joe", "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&dry)?;
    let mut ours: Vec<Value> = list["items"].as_array().context("a list")?.clone();
    ours.retain(|item| item["metadata"]["name"] == "tm-user");
    let rules = ours[0]["rules"].as_array_mut().context("rules")?;
    rules.retain(|rule| rule["resources"][0] != "pods/exec");
    apply(&machine, &json!({"apiVersion": "v1", "kind": "List", "items": ours}).to_string()).await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy = ["--config", &config, "deploy", "service", "hello", "-f", &folder, "--wait"];
    let ran = wait_for("the rights to arrive", LIMIT, async || {
        let ran = machine.tm(deploy).await;
        ensure!(ran.stderr.contains("pods/exec"), "{ran:?}");
        Ok(ran)
    })
    .await?;
    failed_with(&ran, &["cannot get resource \"pods/exec\"", "hint:"])?;
    let left = machine.tm_ok(["get", "taskruns", "-o", "name"]).await?;
    ensure!(left.trim().is_empty(), "the run is removed: {left}");
    Ok(())
}

#[tokio::test]
async fn credentials_that_are_no_good() -> Result<()> {
    let machine = target().await;
    let good = kubeconfig(&machine).await?;
    let get = async |config: &str| machine.tm(["--config", config, "get", "services"]).await;

    let mut forged = good.clone();
    forged["users"][0]["user"] = json!({"token": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"});
    let ran = get(&write_config(&machine, "forged.json", &forged)?).await;
    failed_with(&ran, &["Unauthorized", "hint: the credentials are wrong or expired"])?;
    ensure!(!ran.stderr.contains("eyJ"), "the token is shown: {ran:?}");

    let mut stranger = good.clone();
    let cluster = stranger["clusters"][0]["cluster"].as_object_mut().context("a cluster")?;
    cluster.remove("certificate-authority-data");
    let ran = get(&write_config(&machine, "stranger.json", &stranger)?).await;
    failed_with(&ran, &["certificate", "hint:", "certificate-authority-data"])?;

    let ran = machine.tm(["--context", "nowhere", "get", "services"]).await;
    failed_with(&ran, &["nowhere", "hint:"])?;
    let ran = machine.tm(["--config", "/nonexistent/config", "get", "services"]).await;
    failed_with(&ran, &["/nonexistent/config", "hint:"])
}

/// Kubernetes makes no token for less than ten minutes, too long for a test; one whose account is gone is refused with the same words.
#[tokio::test]
async fn a_token_that_was_good() -> Result<()> {
    let machine = target().await;
    let config = account(&machine, "leaver").await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy =
        async || machine.tm(["--config", &config, "deploy", "service", "hello", "-f", &folder]).await;
    failed_with(&deploy().await, &["cannot", "tm setup --dry"]).context("it is known, and has no rights")?;
    machine.kubectl(["delete", "serviceaccount", "leaver"]).await?;
    wait_for("the token to be refused", LIMIT, async || {
        failed_with(&deploy().await, &["Unauthorized", "hint: the credentials are wrong or expired"])
    })
    .await
}

#[tokio::test]
async fn namespaces_that_are_not_there() -> Result<()> {
    let machine = target().await;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let ran = machine.tm(["-n", "tm-no-such-namespace", "deploy", "service", "hello", "-f", &folder]).await;
    failed_with(&ran, &["namespaces \"tm-no-such-namespace\" not found", "hint: make the namespace"])?;

    // Something in it that does not go keeps it terminating.
    let leaving = format!("{}-leaving", machine.namespace());
    machine.kubectl(["create", "namespace", &leaving]).await?;
    let stays = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stays, finalizers: [tm.example.com/test], namespace: NS}\n";
    apply_in(&machine, &stays.replace("NS", &leaving), &leaving).await?;
    machine.kubectl(["delete", "namespace", &leaving, "--wait=false"]).await?;
    let ran = machine.tm(["-n", &leaving, "deploy", "service", "hello", "-f", &folder]).await;
    let judged = failed_with(&ran, &["being terminated", "hint: wait until the namespace is gone"]);
    let free = ["patch", "configmap", "stays", "-n", &leaving, "--type=merge", "-p"];
    let free = free.into_iter().chain(["{\"metadata\":{\"finalizers\":null}}"]);
    machine.kubectl(free).await?;
    judged
}

async fn apply_in(machine: &Machine, yaml: &str, namespace: &str) -> Result<()> {
    let path = machine.path().join("in.yaml");
    fs_err::write(&path, yaml)?;
    machine.kubectl(["apply", "-n", namespace, "-f", &path.display().to_string()]).await.map(drop)
}

/// A webhook in the way of Services of this namespace, behind which nobody is: what Knative's own looks like when it is down.
#[tokio::test]
async fn a_webhook_that_is_down() -> Result<()> {
    let machine = target().await;
    let name = format!("{}-down", machine.namespace());
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "down.tm.example.com", "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "nobody", "namespace": machine.namespace()}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": machine.namespace()}},
            "rules": [{"apiGroups": ["serving.knative.dev"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["services"]}],
        }],
    });
    apply(&machine, &webhook.to_string()).await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let deploy = ["deploy", "service", "hello", "-f", &folder, "--wait"];
    let looked = machine.tm(["doctor", "--no-pods"]).await;
    let early = machine.tm(deploy).await;
    // One that lets dry runs pass is met after the build only.
    let passing = json!([{"op": "add", "path": "/webhooks/0/matchConditions",
        "value": [{"name": "real", "expression": "!(has(request.dryRun) && request.dryRun)"}]}]);
    let patch = ["patch", "validatingwebhookconfiguration", &name, "--type=json", "-p", &passing.to_string()];
    let patched = machine.kubectl(patch).await;
    let late = machine.tm(deploy).await;
    machine.kubectl(["delete", "validatingwebhookconfiguration", &name]).await?;
    patched?;
    let taken = "the target was not able to take the service `hello`";
    let words = [taken, "failed calling webhook \"down.tm.example.com\"", "hint: a webhook of the cluster"];
    failed_with(&early, &words)?;
    ensure!(!early.stderr.contains("taskrun"), "a build began: {early:?}");
    failed_with(&late, &words)?;
    failed_with(&late, &["error: the image ", "was built, but the service `hello` was not deployed"])?;
    let line = "FAILED webhooks     Knative would not take a Service";
    ensure!(looked.code == 1 && looked.stdout.contains(line), "{looked:?}");
    machine.tm_ok(deploy).await.context("with the webhook out of the way")?;
    ensure!(machine.call("hello", "{}").await?.body == "1");
    Ok(())
}
