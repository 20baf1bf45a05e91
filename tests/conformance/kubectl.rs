//! kubectl itself, unmodified, against the engine.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tm_testkit::{api_server::ApiServer, tools};

use crate::{logs::running_pod, subject::engine};

const SERVICE: &str = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: hello\nspec:\n  template:\n    \
                       spec:\n      containers:\n      - image: example.com/x\n";

/// Standard output of a command that is to succeed.
async fn ok(server: &ApiServer, args: &[&str], input: &str) -> String {
    let output = server.kubectl(args, input).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kubectl {args:?}: {out}{err}");
    out.into_owned()
}

/// Standard error of a command that is to fail.
async fn fails(server: &ApiServer, args: &[&str], input: &str) -> String {
    let output = server.kubectl(args, input).await.unwrap();
    assert!(!output.status.success(), "kubectl {args:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_life_of_a_service() {
    if tools::find("kubectl").is_none() {
        return;
    }
    let server = engine().await;
    let dry = ok(&server, &["apply", "--dry-run=server", "-f", "-"], SERVICE).await;
    assert_eq!(dry, "service.serving.knative.dev/hello created (server dry run)\n");
    let made = ok(&server, &["apply", "-f", "-"], SERVICE).await;
    assert_eq!(made, "service.serving.knative.dev/hello created\n");
    let table = ok(&server, &["get", "ksvc"], "").await;
    assert_eq!(
        table.split_whitespace().take(6).collect::<Vec<_>>(),
        ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"]
    );
    ok(
        &server,
        &[
            "patch",
            "ksvc",
            "hello",
            "--type=merge",
            "-p",
            "{\"spec\":{\"template\":{\"spec\":{\"timeoutSeconds\":9}}}}",
        ],
        "",
    )
    .await;
    ok(&server, &["label", "ksvc", "hello", "a=b"], "").await;
    ok(&server, &["annotate", "ksvc", "hello", "c=d"], "").await;
    let path = "jsonpath={.spec.template.spec.timeoutSeconds} {.metadata.labels.a} {.metadata.annotations.c}";
    assert_eq!(ok(&server, &["get", "ksvc", "hello", "-o", path], "").await, "9 b d");
    let wait = ["wait", "ksvc/hello", "--for=jsonpath={.metadata.generation}=2", "--timeout=10s"];
    ok(&server, &wait, "").await;
    assert!(ok(&server, &["describe", "ksvc", "hello"], "").await.contains("Timeout Seconds:"));
    assert!(ok(&server, &["explain", "ksvc.spec.template.spec"], "").await.contains("timeoutSeconds"));
    ok(&server, &["apply", "--server-side", "--force-conflicts", "-f", "-"], SERVICE).await;
    let wrong = SERVICE.replace("template:", "runLatest: {}\n  template:");
    let refused = fails(&server, &["apply", "-f", "-"], &wrong).await;
    assert!(refused.contains("strict decoding error: unknown field \"spec.runLatest\""), "{refused}");
    assert!(ok(&server, &["delete", "ksvc", "hello", "--wait"], "").await.contains("deleted"));
    assert!(fails(&server, &["get", "ksvc", "hello"], "").await.contains("NotFound"));
}

#[tokio::test]
async fn what_kubectl_makes_by_itself() {
    if tools::find("kubectl").is_none() {
        return;
    }
    let server = engine().await;
    ok(&server, &["create", "namespace", "other"], "").await;
    ok(&server, &["create", "configmap", "c", "--from-literal=a=b", "-n", "other"], "").await;
    let login = [
        "create",
        "secret",
        "docker-registry",
        "r",
        "--docker-server=s",
        "--docker-username=u",
        "--docker-password=p",
        "-n",
        "other",
    ];
    ok(&server, &login, "").await;
    let kind = ok(&server, &["get", "secret", "r", "-n", "other", "-o", "jsonpath={.type}"], "").await;
    assert_eq!(kind, "kubernetes.io/dockerconfigjson");
    ok(
        &server,
        &["patch", "sa", "default", "-n", "other", "-p", "{\"imagePullSecrets\":[{\"name\":\"r\"}]}"],
        "",
    )
    .await;
    ok(&server, &["run", "web", "--image=i", "-n", "other"], "").await;
    let path = "jsonpath={.spec.imagePullSecrets[0].name}";
    assert_eq!(ok(&server, &["get", "pod", "web", "-n", "other", "-o", path], "").await, "r");
    assert_eq!(ok(&server, &["auth", "can-i", "create", "pods"], "").await, "yes\n");
    ok(&server, &["delete", "pod", "web", "-n", "other", "--grace-period=0", "--force"], "").await;
    ok(&server, &["delete", "namespace", "other", "--timeout=20s"], "").await;
    let kinds = ok(&server, &["api-resources", "-o", "name"], "").await;
    assert!(
        kinds.contains("taskruns.tekton.dev") && kinds.contains("revisions.serving.knative.dev"),
        "{kinds}"
    );
}

#[tokio::test]
async fn logs_and_commands() {
    if tools::find("kubectl").is_none() {
        return;
    }
    let server = engine().await;
    let pods: Api<Pod> = Api::default_namespaced(server.api.client("default"));
    running_pod(&pods, "p", &["c"]).await;
    server.node.say("c", "hello");
    server.node.end("c");
    assert_eq!(ok(&server, &["logs", "p", "-f"], "").await, "hello\n");
    assert_eq!(ok(&server, &["exec", "p", "--", "echo", "hi"], "").await, "hi\n");
    assert_eq!(ok(&server, &["exec", "-i", "p", "--", "cat"], "over and back").await, "over and back");
    let output = server.kubectl(&["exec", "p", "--", "sh", "-c", "exit 4"], "").await.unwrap();
    assert_eq!(output.status.code(), Some(4));
    let row = ok(&server, &["get", "pods", "--no-headers"], "").await;
    assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["p", "1/1", "Running", "0"]);
}
