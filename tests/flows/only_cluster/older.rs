//! What older tools left: Tasks of the Knative Lambda Runtime, services of the first tm.

use anyhow::{Result, ensure};
use serde_json::json;

use super::setting;
use crate::{
    support::{apply, get, shell_function},
    target,
};

/// A Task in the form of 2019 (`v1alpha1`, `inputs`, git and image resources), whose steps are of today.
fn old_task(builder: &str, base: &str) -> String {
    let task = json!({
        "apiVersion": "tekton.dev/v1alpha1", "kind": "Task", "metadata": {"name": "knative-bash-runtime"},
        "spec": {
            "inputs": {
                "resources": [{"name": "sources", "type": "git"}],
                "params": [
                    {"name": "IMAGE", "description": "Where to publish the resulting image."},
                    {"name": "HANDLER", "description": "Handler", "default": "function.handler"},
                ],
            },
            "outputs": {"resources": [{"name": "image", "type": "image"}]},
            "steps": [
                {
                    "name": "build", "image": builder, "workingDir": "/workspace",
                    "command": ["build-tasks"], "args": ["--version"], "resources": {},
                },
                {
                    "name": "push", "image": builder, "command": ["build-tasks"],
                    "args": ["assemble", format!("--base={base}"), "--image=$(inputs.params.IMAGE)",
                        "--layer=code=/workspace", "--env", "_HANDLER=$(inputs.params.HANDLER)",
                        "--env", "LAMBDA_TASK_ROOT=/workspace"],
                },
            ],
        },
    });
    task.to_string()
}

/// The API takes the converted Task, and a build runs with it; the source is where such Tasks expect it.
#[tokio::test]
async fn a_task_of_the_knative_lambda_runtime() -> Result<()> {
    let machine = target().await;
    let (builder, base) =
        (setting(&machine, "BUILDER_IMAGE").await?, setting(&machine, "custom.BASE_IMAGE").await?);
    let file = machine.path().join("old.yaml");
    fs_err::write(&file, old_task(&builder, &base))?;
    let file = file.display().to_string();
    let ran = machine.tm(["deploy", "task", "-f", &file]).await;
    ensure!(ran.code == 0 && ran.stderr.contains("tekton.dev/v1alpha1 is converted"), "{ran:?}");
    let task = get(&machine, "tasks.tekton.dev/knative-bash-runtime").await?;
    ensure!(task["apiVersion"] == "tekton.dev/v1" && task["spec"]["params"][0]["name"] == "IMAGE", "{task}");

    let folder = shell_function(&machine, "hello", "echo old").display().to_string();
    let deploy = ["deploy", "service", "hello", "-f", &folder, "--build-template", "knative-bash-runtime"];
    let image = machine.tm_ok(deploy.into_iter().chain(["--build-only"])).await?;
    ensure!(image.contains("/hello:"), "a Task that reports no digest gives the tag: {image}");
    Ok(())
}

/// A service that the first tm made by `PUT` is taken over: what is not said any more is gone.
#[tokio::test]
async fn a_service_of_the_first_tm() -> Result<()> {
    let machine = target().await;
    let base = setting(&machine, "custom.BASE_IMAGE").await?;
    let old = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "hello", "labels": {"cli.triggermesh.io/service": "hello"}},
        "spec": {"template": {
            "metadata": {"annotations": {"sidecar.istio.io/inject": "true", "autoscaling.knative.dev/min-scale": "0"}},
            "spec": {"containers": [{"name": "user-container", "image": base, "env": [{"name": "OLD", "value": "1"}]}]},
        }},
    });
    let file = machine.path().join("old.json");
    fs_err::write(&file, old.to_string())?;
    let file = file.display().to_string();
    machine.kubectl(["create", "-f", &file, "--field-manager=tm"]).await?;

    let folder = shell_function(&machine, "hello", r#"echo "${OLD:-gone} ${NEW:-}""#).display().to_string();
    machine.tm_ok(["deploy", "service", "hello", "-f", &folder, "-e", "NEW=2", "--wait"]).await?;
    let answer = machine.call("hello", "{}").await?;
    ensure!(answer.body == "gone 2", "{answer:?}");
    let service = get(&machine, "ksvc/hello").await?;
    let containers = service["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len);
    ensure!(containers == Some(1), "{service}");
    apply(&machine, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: done}\n").await
}
