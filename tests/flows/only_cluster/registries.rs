//! Registries with a password, for pushing, pulling and bases; images by digest and by tag.

use anyhow::{Context, Result, ensure};
use tm_testkit::{machine::Machine, tools};

use crate::{
    support::{deploy, get, shell_function},
    target,
};

/// The registry with a password: host, user and password.
fn private() -> Option<(String, String, String)> {
    let variable = |name: &str| std::env::var(format!("TM_TEST_PRIVATE_REGISTRY{name}")).ok();
    let found = variable("").zip(variable("_USER")).zip(variable("_PASSWORD_FILE"));
    let Some(((host, user), file)) = found else {
        tools::skip("no registry with a password (TM_TEST_PRIVATE_REGISTRY, …_USER, …_PASSWORD_FILE)");
        return None;
    };
    let password = fs_err::read_to_string(file).expect("the password file can be read");
    Some((host, user, password.trim().to_owned()))
}

async fn set_auth(machine: &Machine, name: &str, registry: &(String, String, String)) -> Result<()> {
    let (host, user, password) = registry;
    let args = ["set", "registry-auth", name, "--registry", host, "--username", user, "--password", password];
    machine.tm_ok(args).await.map(drop)
}

#[tokio::test]
async fn a_private_registry_for_everything() -> Result<()> {
    let Some(registry) = private() else { return Ok(()) };
    let machine = target().await;
    set_auth(&machine, "reg", &registry).await?;
    let (host, user, password) = &registry;
    let folder = shell_function(&machine, "first", "echo private").display().to_string();
    let first = ["deploy", "service", "first", "-f", &folder, "--registry-secret", "reg", "--wait"];
    machine.tm_ok(first).await?;
    ensure!(machine.call("first", "{}").await?.body == "private");
    let service = get(&machine, "ksvc/first").await?;
    let image = service["spec"]["template"]["spec"]["containers"][0]["image"].as_str().context("an image")?;
    ensure!(image.starts_with(&format!("{host}/{user}/first@sha256:")), "{image}");
    ensure!(!service.to_string().contains(password.as_str()), "the password is in the object");

    // What was built serves as the base of the next: read, and mounted, with the same credentials.
    let base = format!("BASE_IMAGE={image}");
    let folder = shell_function(&machine, "second", "echo on top").display().to_string();
    let second = ["deploy", "service", "second", "-f", &folder, "--registry-secret", "reg", "--wait"];
    machine.tm_ok(second.into_iter().chain(["--build-argument", &base])).await?;
    ensure!(machine.call("second", "{}").await?.body == "on top");

    let found = machine.tm_ok(["doctor", "--registry-secret", "reg"]).await?;
    ensure!(found.contains(&format!("pushed {host}/{user}/tm-doctor:check")), "{found}");
    ensure!(found.contains(&format!("pulled {host}/{user}/tm-doctor")), "{found}");
    Ok(())
}

/// Pushed with a password, which nobody gives to the function's own pod.
#[tokio::test]
async fn a_pull_secret_that_is_missing() -> Result<()> {
    let Some(registry) = private() else { return Ok(()) };
    let machine = target().await;
    set_auth(&machine, "reg", &registry).await?;
    let folder = shell_function(&machine, "first", "echo private").display().to_string();
    let build = ["deploy", "service", "first", "-f", &folder, "--registry-secret", "reg", "--build-only"];
    let image = machine.tm_ok(build).await?;
    // What `set registry-auth` gave to everybody in the namespace.
    machine
        .kubectl(["patch", "serviceaccount", "default", "--type=merge", "-p", r#"{"imagePullSecrets":null}"#])
        .await?;
    let deploy = ["deploy", "service", "first", "-f", image.trim(), "--wait", "--wait-timeout", "20s"];
    let ran = machine.tm(deploy).await;
    super::failed_with(&ran, &["pod first-00001-", "ImagePull", &registry.0, "hint:", "--registry-secret"])
}

#[tokio::test]
async fn a_wrong_password_is_said_before_the_upload() -> Result<()> {
    let Some((host, user, _)) = private() else { return Ok(()) };
    let machine = target().await;
    set_auth(&machine, "bad", &(host.clone(), user, "wrong-and-secret".into())).await?;
    let folder = shell_function(&machine, "hello", "echo 1").display().to_string();
    let ran = machine.tm(["deploy", "service", "hello", "-f", &folder, "--registry-secret", "bad"]).await;
    super::failed_with(&ran, &[&host, "refused the user name or password", "hint:"])?;
    ensure!(!ran.stderr.contains("Uploading"), "{ran:?}");
    ensure!(!ran.stderr.contains("wrong-and-secret"), "the password is shown: {ran:?}");
    Ok(())
}

/// What tm builds is deployed by digest; a tag is resolved by Knative, once for each Revision.
#[tokio::test]
async fn digests_and_tags() -> Result<()> {
    let machine = target().await;
    deploy(&machine, "built", "echo 1", &[]).await;
    let revision = get(&machine, "revision/built-00001").await?;
    let image = revision["spec"]["containers"][0]["image"].as_str().context("an image")?.to_owned();
    let (name, digest) = image.split_once('@').context("a digest")?;
    let run = get(&machine, "taskrun").await?;
    let pushed = run["items"][0]["status"]["results"].as_array().context("results")?;
    let url = pushed.iter().find(|result| result["name"] == "IMAGE_URL").context("IMAGE_URL")?;
    let by_tag = url["value"].as_str().context("a text")?;
    ensure!(by_tag.starts_with(&format!("{name}:")), "{by_tag}");

    machine.tm_ok(["deploy", "service", "tagged", "-f", by_tag, "--wait"]).await?;
    ensure!(machine.call("tagged", "{}").await?.body == "1");
    let revision = get(&machine, "revision/tagged-00001").await?;
    let resolved = &revision["status"]["containerStatuses"][0]["imageDigest"];
    ensure!(resolved.as_str().is_some_and(|resolved| resolved.ends_with(digest)), "{resolved}");
    Ok(())
}
