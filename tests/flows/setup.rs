//! `tm setup` and `tm doctor`: a target made ready, and looked at.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tm_testkit::machine::Machine;

use crate::{machine, registry, support::shell_function};

/// What the doctor found: check and state.
async fn doctor(machine: &Machine, more: &[&str]) -> Result<(i32, Vec<(String, String)>)> {
    let ran = machine.tm(["doctor", "-o", "json"].iter().chain(more)).await;
    let findings: Vec<Value> = serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))?;
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    Ok((ran.code, findings.iter().map(|found| (text(found, "check"), text(found, "state"))).collect()))
}

#[tokio::test]
async fn a_target_that_needs_nothing() -> Result<()> {
    let machine = machine();
    let names = machine.tm_ok(["setup", "--dry", "-o", "name", "--user", "jane"]).await?;
    ensure!(names.contains("task.tekton.dev/python\n"), "{names}");
    ensure!(names.ends_with("rolebinding.rbac.authorization.k8s.io/tm-user\n"), "{names}");
    let none = machine.tm(["get", "tasks"]).await;
    ensure!(none.stderr.contains("No tasks found"), "a dry run changed something: {none:?}");

    let role = machine.tm_ok(["setup"]).await?;
    ensure!(role.contains("kind: Role\n") && role.contains("pods/exec"), "{role}");
    let task = machine.tm_ok(["get", "task", "python", "-o", "yaml"]).await?;
    ensure!(task.contains("default: tm.local/host"), "the target's images are the defaults: {task}");
    machine.tm_ok(["setup"]).await.context("it may be repeated")?;

    let (code, findings) = doctor(&machine, &[]).await?;
    ensure!(code == 0 && findings.iter().all(|(_, state)| state == "ok"), "{findings:?}");
    let checks: Vec<&str> = findings.iter().map(|(check, _)| check.as_str()).collect();
    for check in ["API server", "namespace", "Knative", "Tekton", "rights", "builder", "push", "pull"] {
        ensure!(checks.contains(&check), "no {check} in {checks:?}");
    }
    let left = machine.tm(["get", "taskruns"]).await;
    ensure!(left.stderr.contains("No taskruns found"), "the doctor left {left:?}");
    Ok(())
}

/// The engine's own settings are somebody else's, so these are all that setup has.
#[tokio::test]
async fn the_last_settings_can_be_taken_away() -> Result<()> {
    let machine = machine();
    let set = [
        "setup",
        "--image",
        "python.BUILD_IMAGE=r.example.com/p:1",
        "--image",
        "go.SSH_KEY=r.example.com/k:1",
    ];
    machine.tm_ok(set).await?;
    let task = machine.tm_ok(["get", "task", "python", "-o", "yaml"]).await?;
    ensure!(task.contains("default: r.example.com/p:1"), "{task}");
    let unset = ["setup", "--image", "python.BUILD_IMAGE=", "--image", "go.SSH_KEY="];
    let dry = machine.tm_ok(unset.iter().chain(&["--dry", "-o", "name"])).await?;
    ensure!(dry.starts_with("configmap/tm-config\n"), "the change is shown: {dry}");
    let ran = machine.tm(unset).await;
    ensure!(ran.code == 0 && ran.stderr.contains("Settings written"), "{ran:?}");
    let task = machine.tm_ok(["get", "task", "python", "-o", "yaml"]).await?;
    ensure!(!task.contains("r.example.com"), "{task}");
    let after = machine.tm(["setup", "--dry"]).await;
    ensure!(after.code == 0 && !after.stdout.contains("r.example.com"), "they came back: {after:?}");
    ensure!(!after.stdout.contains("kind: ConfigMap"), "nothing is left to be set: {after:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_has_a_hint() -> Result<()> {
    let machine = machine();
    let ran = machine.tm(["-n", "nowhere", "doctor", "--no-pods"]).await;
    ensure!(ran.code == 1 && ran.stdout.contains("there is no namespace `nowhere`"), "{ran:?}");
    ensure!(ran.stdout.contains("hint: `kubectl create namespace nowhere`"), "{ran:?}");
    ensure!(ran.stderr.contains("1 of the checks failed"), "{ran:?}");
    let (code, findings) = doctor(&machine, &["--registry-host", "127.0.0.1:1"]).await?;
    let failed: Vec<_> = findings.iter().filter(|(_, state)| state == "failed").collect();
    ensure!(code == 1 && failed.len() == 1 && failed[0].0 == "push", "{findings:?}");
    let wrong = machine.tm(["setup", "--image", "BASE_IMAGE"]).await;
    ensure!(wrong.code == 2 && wrong.stderr.contains("[TASK.]PARAM=IMAGE"), "{wrong:?}");
    Ok(())
}

/// The builder image comes from this very program, goes to somebody's registry, and builds are run in it.
#[tokio::test]
async fn a_builder_of_its_own() -> Result<()> {
    let machine = machine();
    let Some(registry) = registry::start(&machine).await? else { return Ok(()) };
    registry::set_auth(&machine, "reg", &registry.address, "p").await?;
    machine.tm_ok(["setup", "--registry-secret", "reg"]).await?;
    let kept = machine.tm_ok(["doctor", "--no-pods"]).await?;
    ensure!(kept.contains("builder      tm.local/host"), "what others set is left alone: {kept}");

    machine.tm_ok(["setup", "--registry-secret", "reg", "--force"]).await?;
    let task = machine.tm_ok(["get", "task", "python", "-o", "yaml"]).await?;
    ensure!(task.contains("default: tm.local/host"), "what was not replaced stays the default: {task}");
    let made = machine.tm_ok(["doctor", "--registry-secret", "reg"]).await?;
    let builder = format!("builder      {}/u/tm-builder@sha256:", registry.address);
    ensure!(made.contains(&builder), "{made}");
    ensure!(made.contains(&format!("pushed {}/u/tm-doctor:check", registry.address)), "{made}");
    ensure!(made.contains(&format!("pulled {}/u/tm-doctor", registry.address)), "{made}");

    // A choice is kept by later runs; what was made here is made anew.
    machine.tm_ok(["setup", "--registry-secret", "reg", "--builder-image", "r.example.com/b:1"]).await?;
    let kept = machine.tm_ok(["setup", "--registry-secret", "reg", "--dry"]).await?;
    ensure!(kept.contains("BUILDER_IMAGE: r.example.com/b:1"), "{kept}");
    // Long values stand on a line of their own.
    ensure!(kept.contains(&format!(" {}/u/tm-base@sha256:", registry.address)), "{kept}");
    Ok(())
}

/// An authority of the operator's own is trusted where it is named, and nowhere else.
#[tokio::test]
async fn a_registry_with_an_authority_of_its_own() -> Result<()> {
    let machine = machine();
    let Some((registry, authority)) = registry::start_tls(&machine).await? else { return Ok(()) };
    // The base alone is small.
    let setup =
        ["setup", "--force", "--registry-host", &registry.address, "--builder-image", "r.example.com/b:1"];
    let stranger = machine.tm(setup).await;
    ensure!(stranger.code == 1 && stranger.stderr.contains("certificate"), "{stranger:?}");
    let ran = machine.tm(setup.iter().chain(&["--registry-ca", &authority])).await;
    let pushed = format!("{}/tm/base@sha256:", registry.address);
    ensure!(ran.code == 0 && ran.stderr.contains(&pushed), "{ran:?}");
    let again = machine.tm(setup.iter().chain(&["--registry-skip-tls"])).await;
    ensure!(again.code == 0, "nothing is checked, if that is wanted: {again:?}");
    Ok(())
}

/// Images of languages come to the target's registry as they are, and builds use the copies.
#[tokio::test]
async fn copies_of_images() -> Result<()> {
    let machine = machine();
    let Some(registry) = registry::start(&machine).await? else { return Ok(()) };
    registry::set_auth(&machine, "reg", &registry.address, "p").await?;
    let folder = shell_function(&machine, "hello", "cat /var/task/data").display().to_string();
    fs_err::write(machine.path().join("hello/data"), "1")?;
    let deploy = ["deploy", "service", "hello", "-f", &folder, "--registry-secret", "reg", "--wait"];
    machine.tm_ok(deploy).await?;
    let service: Value =
        serde_json::from_str(&machine.tm_ok(["get", "service", "hello", "-o", "json"]).await?)?;
    let image = service["spec"]["template"]["spec"]["containers"][0]["image"].as_str().context("an image")?;

    let chosen = format!("custom.BASE_IMAGE={image}");
    let setup = ["setup", "--registry-secret", "reg", "--image", &chosen, "--copy-images=custom"];
    machine.tm_ok(setup).await?;
    let copy = image.replace("/u/hello@", "/u/tm-hello@");
    let task = machine.tm_ok(["get", "task", "custom", "-o", "yaml"]).await?;
    ensure!(task.contains(&copy), "no {copy}: {task}");
    machine.tm_ok(deploy).await.context("a build on the copy")?;
    let again = machine.tm(["setup", "--registry-secret", "reg", "--copy-images"]).await;
    ensure!(
        again.code == 0 && again.stderr.contains(&format!("custom.BASE_IMAGE is {copy} already")),
        "{again:?}"
    );

    let missing = format!("custom.BASE_IMAGE={}/u/nothing:1", registry.address);
    let ran = machine.tm(["setup", "--registry-secret", "reg", "--image", &missing, "--copy-images"]).await;
    ensure!(ran.code == 1 && ran.stderr.contains("failed to look up"), "{ran:?}");
    ensure!(ran.stderr.contains("hint: images are copied through this machine"), "{ran:?}");
    let wrong = machine.tm(["setup", "--copy-images=cobol"]).await;
    ensure!(
        wrong.code == 2 && wrong.stderr.contains("[possible values: go, python, node, custom]"),
        "{wrong:?}"
    );
    Ok(())
}
